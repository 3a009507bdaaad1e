"""Runs several searches or retrainings, as one program or one after another.

A run whose loss is not finite ends alone.
"""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from egnas_jax.runs.batch_shape import ONE_BY_ONE, chosen_width, has_begun


class Ending(NamedTuple):
    """How a run ended.

    Attributes:
      result: a `SearchResult` or `RetrainResult`; None where its loss was not finite.
      error: what ended it; its last good checkpoint is whole.
    """

    result: Any
    error: FloatingPointError | None = None


class Runs(Protocol):
    """Runs that one call asks for.

    Attributes:
      configs: configuration of each.
      folders: run directory of each, or None.
      restores: the run that each starts from, or None.
      sources: arguments of all of them that say where the data are.
      resume, stop_after: arguments of each run.
      on_epoch: called with the index of a run and the record of its epoch.
      log: called with notes.
    """

    configs: tuple[Any, ...]
    folders: tuple[pathlib.Path | None, ...]
    restores: tuple[pathlib.Path | None, ...]
    sources: dict[str, Any]
    resume: bool
    stop_after: int | None
    on_epoch: Callable[[int, dict], Any]
    log: Callable[[str], Any]


def decided_width(
    runs: Runs,
    batched: str | int,
    devices: int,
    *,
    check: Callable[[Sequence[Any]], None],
    what: str,
) -> int | None:
    """Returns how many runs a device computes together, see `chosen_width`.

    "auto" runs one after another on a CPU, and where the runs cannot be a batch.

    Args:
      runs: the runs that are asked for.
      batched: see `batch_shape.check_mode`.
      devices: number of devices that divide a batch.
      check: refuses configurations that cannot be a batch, by ValueError.
      what: what a note calls the runs: "searches".

    Raises:
      ValueError: the runs cannot be a batch, or began in batches of another size.
    """

    def automatic() -> int | None:
        if jax.default_backend() == "cpu" or len(runs.configs) == 1:
            return ONE_BY_ONE
        try:
            check(runs.configs)
        except ValueError as error:
            runs.log(f"The {what} run one after another: {error}")
            return ONE_BY_ONE
        return None

    width = chosen_width(runs.folders, batched, devices, automatic)
    if width != ONE_BY_ONE:
        check(runs.configs)
    return width


def one_after_another(
    runs: Runs, run: Callable[..., Any], what: str
) -> tuple[list[Ending], int]:
    """Carries out runs in their order; one whose loss is not finite ends alone.

    Args:
      runs: the runs that are asked for.
      run: (config, **options) -> the result of one.
      what: what a message calls a run: "Search".

    Returns:
      How each ended, and 1, the number of runs at a time.
    """
    endings = []
    for index, (config, folder) in enumerate(
        zip(runs.configs, runs.folders, strict=True)
    ):
        try:
            result = run(
                config,
                out=folder,
                resume=runs.resume and has_begun(folder),
                restore=runs.restores[index],
                stop_after=runs.stop_after,
                on_epoch=functools.partial(runs.on_epoch, index),
                log=runs.log,
                **runs.sources,
            )
            endings.append(Ending(result))
        except FloatingPointError as error:
            runs.log(f"{folder or f'{what} {index + 1}'}: {error}")
            endings.append(Ending(None, error))
    return endings, 1
