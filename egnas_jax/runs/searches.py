"""Runs several searches, one after another or several as one program."""

import functools
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from egnas_jax.runs import directory
from egnas_jax.runs.batch import (
    BatchOptions,
    compiled_programs,
    run_batch,
)
from egnas_jax.runs.batch_members import BatchSetup, part_of, set_up_members
from egnas_jax.runs.batch_shape import (
    ONE_BY_ONE,
    check_mode,
    chosen_shape,
)
from egnas_jax.runs.batchable import batch_devices, check_batchable
from egnas_jax.runs.data import ArrayData
from egnas_jax.runs.environment import warn_of_changes
from egnas_jax.runs.run_names import (
    folders_of,
    one_path_each,
    run_names,
    setting_labels,
)
from egnas_jax.runs.search import Silent, StartMonitor, run_search
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.search_result import SearchResult
from egnas_jax.runs.several import Ending, decided_width, one_after_another
from egnas_jax.training.jax_settings import pinned


class SearchesResult(NamedTuple):
    """What several searches found, in the order of their configurations.

    Attributes:
      results: result of each search; None where its loss was not finite. The arrays of
        those that ran as a batch are on the host.
      errors: index of a search -> the error that ended it.
      labels: for each search, its settings that differ between the searches, except
        the seed; "" where there are none.
      width: searches that ran at a time.
    """

    results: tuple[SearchResult | None, ...]
    errors: dict[int, FloatingPointError]
    labels: tuple[str, ...]
    width: int


__all__ = ["SearchesResult", "run_names", "run_searches", "setting_labels"]


class _Call(NamedTuple):
    """The arguments of a call of `run_searches` that each of its ways needs."""

    configs: tuple[SearchConfig, ...]
    folders: tuple[pathlib.Path | None, ...]
    restores: tuple[pathlib.Path | None, ...]
    sources: dict
    resume: bool
    stop_after: int | None
    on_epoch: Callable[[int, dict], None]
    log: Callable[[str], None]
    monitor: StartMonitor


@pinned()
def run_searches(
    configs: Sequence[SearchConfig],
    out: str | pathlib.Path | Sequence[str | pathlib.Path] | None = None,
    *,
    batched: str | int = "auto",
    data: ArrayData | None = None,
    data_dir: str | pathlib.Path | None = None,
    resume: bool = False,
    restores: Sequence[str | pathlib.Path | None] | None = None,
    stop_after: int | None = None,
    on_epoch: Callable[[int, dict], None] | None = None,
    log: Callable[[str], None] | None = None,
    monitor: StartMonitor | None = None,
) -> SearchesResult:
    """Runs several searches, each as `run_search` does, several of them as one program.

    Searches that run as one program may differ in the seed and in hyperparameters that
    affect no shape (`runs.batchable`). Such a search agrees with the same one alone to
    rounding, and bit for bit with itself in every batch of as many members, whatever
    the others are. docs/many_searches.md says what follows from that.

    Args:
      configs: of the searches, see `search_config`.
      out: each search gets a run directory below it, as `run_names` calls it; or the
        directory of each search; None writes nothing.
      batched: how many searches run at a time: a number; "on", all; "off", one after
        another; "auto", one after another on a CPU, and on other devices as many as
        their memory holds. Batches are made equally large, and divided among
        `devices` of the configurations, or among all devices of this process.
      data, data_dir, resume, stop_after: see `run_search`, for every search. A resume
        goes on with every run that has begun, and begins the others.
      restores: the run whose newest state each search starts from, or None; several
        may fork from one run.
      on_epoch: called with the index of a search and the record of its epoch.
      log: called with notes; None: the logger "egnas_jax" gets them as warnings.
      monitor: follows what happens before the first epoch; None shows nothing.

    Returns:
      The results. A search whose loss is NaN or infinite ends alone, with its error.

    Raises:
      ValueError: a configuration, the data or a directory cannot be used, two searches
        have the same directory, or searches that are to run as one program differ in a
        setting that is part of it; nothing was written.
      RuntimeError: the runs failed; the message says how to go on.
      Interrupted: SIGINT or SIGTERM arrived, and checkpoints were written (a
        KeyboardInterrupt).
    """
    check_mode(batched)
    folders = folders_of(configs, out)
    for folder in folders:
        directory.check_arguments(folder, resume=resume, stop_after=stop_after)
    call = _Call(
        configs=tuple(configs),
        folders=folders,
        restores=one_path_each(restores, len(configs), "restores"),
        sources={"data": data, "data_dir": data_dir},
        resume=resume,
        stop_after=stop_after,
        on_epoch=on_epoch or (lambda index, record: None),
        log=log or logging.getLogger("egnas_jax").warning,
        monitor=monitor or Silent(),
    )
    width = _decided(call, batched)
    if width == ONE_BY_ONE:
        endings, width = _one_by_one(call)
    else:
        endings, width = _batches(call, width)
    return SearchesResult(
        results=tuple(ending.result for ending in endings),
        errors={i: end.error for i, end in enumerate(endings) if end.error},
        labels=tuple(setting_labels(configs)),
        width=width,
    )


def _decided(call: _Call, batched: str | int) -> int | None:
    """How many searches a device computes together, see `decided_width`.

    Raises:
      ValueError: the searches cannot run as one program; or they began in batches of
        another size.
    """
    devices = 1 if batched == "off" else batch_devices(call.configs[0])
    return decided_width(call, batched, devices, check=check_batchable, what="searches")


def _one_by_one(call: _Call) -> tuple[list[Ending], int]:
    run = functools.partial(run_search, monitor=call.monitor)
    return one_after_another(call, run, "Search")


def _batches(call: _Call, width: int | None) -> tuple[list[Ending], int]:
    """Runs one batch after another; all of them have the same programs."""
    setup = set_up_members(
        call.configs,
        call.folders,
        call.sources,
        restores=call.restores,
        on_epoch=call.on_epoch,
        log=call.log,
    )
    _check_folders(setup, call, width)
    call.monitor.data_loaded(setup.setups[0])
    count, devices = len(call.configs), batch_devices(call.configs[0])
    monitor = call.monitor.compiling
    compiled = functools.cache(lambda shape: compiled_programs(setup, shape, monitor))
    shape = chosen_shape(count, width, devices, compiled)
    if width is None and shape.at_a_time == 1:
        return _one_by_one(call)
    options = BatchOptions(
        shape=shape,
        programs=functools.partial(compiled, shape),
        resume=call.resume,
        stop_after=call.stop_after,
        data_dir=call.sources["data_dir"],
    )
    endings = []
    for start in range(0, count, shape.at_a_time):
        part = part_of(setup, slice(start, start + shape.at_a_time))
        endings += run_batch(part, options)
    return endings, shape.at_a_time


def _check_folders(setup: BatchSetup, call: _Call, width: int | None) -> None:
    """Refuses directories of other configurations, before anything is written."""
    for each in setup.setups:
        folder = each.run.folder
        if folder is not None:
            directory.check_configuration(each.config, folder)
            warn_of_changes(folder, call.log, width or 1)
