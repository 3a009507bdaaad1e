"""Sends the records of a run to the trackers that its settings name."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TypeVar

from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.loop import RetrainRun
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.search.search_run import SearchRun
from egnas_jax.settings import as_dict, flat
from egnas_jax.storage.trackers import (
    TRACKERS,
    TrackedRun,
    check_installed,
    tracking,
)

Run = TypeVar("Run", SearchRun, RetrainRun)


def check_trackers(config: SearchConfig | RetrainConfig) -> None:
    """Refuses trackers whose packages are missing.

    Raises:
      ValueError: names a package, and how to install it.
    """
    check_installed(_names_of(config))


def tracked(
    config: SearchConfig | RetrainConfig,
    folder: pathlib.Path | None,
    first_epoch: int,
    log: Callable[[str], None],
) -> AbstractContextManager[Callable[[Mapping], None]]:
    """Returns a context that gives a function which sends an epoch's record.

    Args:
      config: of the run.
      folder: its directory; None: nothing is sent, as nothing is written.
      first_epoch: of this process, from 0.
      log: called with notes.
    """
    if folder is None:
        return nullcontext(lambda record: None)
    settings = dict(flat(as_dict(config)))
    return tracking(_names_of(config), TrackedRun(folder, first_epoch, settings), log)


@contextlib.contextmanager
def with_trackers(
    run: Run, config: SearchConfig | RetrainConfig, first_epoch: int
) -> Iterator[Run]:
    """Context that gives a run which sends its records to trackers, if it is asked to.

    Args:
      run: a search, a stage of one, or a retraining.
      config: of the run.
      first_epoch: first epoch that it records, from 0.
    """
    with tracked(config, run.folder, first_epoch, run.log) as send:

        def on_epoch(record: dict) -> None:
            send(record)
            run.on_epoch(record)

        yield run._replace(on_epoch=on_epoch)


def end_with(contexts: ExitStack, error: Exception | None) -> None:
    """Tells the trackers of a member of a batch what ended it, if anything has.

    Args:
      contexts: contexts of the member alone. They end here, and the batch goes on.
      error: the error that ended the member, or None.
    """
    if error is not None:
        contexts.__exit__(type(error), error, error.__traceback__)


def _names_of(config: SearchConfig | RetrainConfig) -> list[str]:
    return [name for name in TRACKERS if getattr(config, name)]
