"""Sends metrics to services that track experiments, for instance `--set mlflow=true`.

They get the records of metrics.jsonl after these were written. The modules of this
folder alone import the packages of the services, and only for runs that ask for them.
"""

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from egnas_jax.storage.trackers import mlflow, tensorboard, wandb
from egnas_jax.storage.trackers.base import TrackedRun, Writer

__all__ = ["TRACKERS", "TrackedRun", "Tracker", "check_installed", "tracking"]


class Tracker(NamedTuple):
    """A service that tracks experiments.

    Attributes:
      writer: opens the service for a run.
      package: the package that it needs, by the name of its import.
    """

    writer: Writer
    package: str


# setting of a run, and extra of this package -> what it switches on
TRACKERS = {
    "tensorboard": Tracker(tensorboard.writer, "tensorboardX"),
    "mlflow": Tracker(mlflow.writer, "mlflow"),
    "wandb": Tracker(wandb.writer, "wandb"),
}


def check_installed(names: Iterable[str]) -> None:
    """Refuses trackers whose packages are missing.

    Args:
      names: keys of `TRACKERS`.

    Raises:
      ValueError: names a package, and how to install it.
    """
    for name in names:
        package = TRACKERS[name].package
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"{name} is true, but the package {package} is not installed. Install "
                f"it by `pip install egnas-jax[{name}]`, or leave {name} out: "
                f"metrics.jsonl holds the same metrics."
            )


@contextlib.contextmanager
def tracking(
    names: Iterable[str], run: TrackedRun, log: Callable[[str], None]
) -> Iterator[Callable[[Mapping], None]]:
    """Context that gives a function which sends an epoch's record to trackers.

    A tracker that fails, for example because its server is unreachable, ends no run: a
    note says so, and it gets no further records, since its package may try for minutes
    each time. The records stay in metrics.jsonl.

    Args:
      names: keys of `TRACKERS`.
      run: the run that is tracked.
      log: called with notes.
    """
    with contextlib.ExitStack() as stack:
        writers = {}
        for name in names:
            opened = TRACKERS[name].writer(run)
            with _survived(name, log):
                writers[name] = opened.__enter__()
                stack.push(functools.partial(_close, opened, name, writers, log))

        def write(record: Mapping) -> None:
            for name in tuple(writers):
                send = writers.pop(name)
                with _survived(name, log):
                    send(record)
                    writers[name] = send

        yield write


def _close(
    opened: AbstractContextManager,
    name: str,
    writers: Mapping,
    log: Callable[[str], None],
    *error: object,
) -> None:
    """Ends the context of a tracker that has not failed; tells it how the run ended."""
    if name in writers:
        with _survived(name, log):
            opened.__exit__(*error)


@contextlib.contextmanager
def _survived(name: str, log: Callable[[str], None]) -> Iterator[None]:
    """Context whose errors become notes."""
    try:
        yield
    except Exception as error:
        log(
            f"{name} failed: {type(error).__name__}: {error}. The run goes on without "
            f"it, and metrics.jsonl holds its records."
        )
