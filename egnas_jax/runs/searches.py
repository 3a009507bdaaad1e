"""Runs several searches, one after another or several as one program."""

import functools
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from egnas_jax.runs import directory
from egnas_jax.runs.batch import (
    BatchOptions,
    Ending,
    compiled_programs,
    run_batch,
)
from egnas_jax.runs.batch_members import BatchSetup, set_up_members
from egnas_jax.runs.batchable import (
    OF_THE_RUN,
    check_batchable,
    check_mode,
    even_width,
)
from egnas_jax.runs.data import ArrayData
from egnas_jax.runs.environment import place_of, warn_of_changes
from egnas_jax.runs.search import SearchResult, Silent, StartMonitor, run_search
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.sweep_configs import setting_label
from egnas_jax.search.members import MemberPrograms
from egnas_jax.settings import as_dict, flat
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.out_of_memory import OutOfMemoryError, free_bytes

# Fraction of the free memory that the programs of a batch may reserve; a margin for
# what the process allocates beside them.
SHARE = 0.9


class SearchesResult(NamedTuple):
    """What several searches found, in the order of their configurations.

    Attributes:
      results: of each search; None where its loss was not finite. The arrays of those
        that ran as a batch are on the host.
      errors: index of a search -> the error that ended it.
      labels: of each search: its settings that differ between the searches, the seed
        apart; "" where there are none.
      width: searches that ran at a time.
    """

    results: tuple[SearchResult | None, ...]
    errors: dict[int, FloatingPointError]
    labels: tuple[str, ...]
    width: int


class _Call(NamedTuple):
    """The arguments of a call of `run_searches` that each of its ways needs."""

    configs: tuple[SearchConfig, ...]
    folders: tuple[pathlib.Path | None, ...]
    sources: dict
    resume: bool
    stop_after: int | None
    on_epoch: Callable[[int, dict], None]
    log: Callable[[str], None]
    monitor: StartMonitor


@pinned()
def run_searches(
    configs: Sequence[SearchConfig],
    out: str | pathlib.Path | None = None,
    *,
    batched: str | int = "auto",
    data: ArrayData | None = None,
    data_dir: str | pathlib.Path | None = None,
    resume: bool = False,
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
      out: each search gets a run directory below it, as `run_names` calls it; None
        writes nothing.
      batched: how many searches run at a time: a number; "on", all; "off", one after
        another; "auto", one after another on a CPU, and on another device as many as
        its memory holds. Batches are made equally large.
      data, data_dir, resume, stop_after: as of `run_search`, for every search. A resume
        goes on with every run that has begun, and begins the others.
      on_epoch: called with the index of a search and the record of its epoch.
      log: called with notes; None: the logger "egnas_jax" gets them as warnings.
      monitor: is told what happens before the first epoch.

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
    folders = _folders(configs, out)
    for folder in folders:
        directory.check_arguments(folder, resume=resume, stop_after=stop_after)
    call = _Call(
        configs=tuple(configs),
        folders=folders,
        sources={"data": data, "data_dir": data_dir},
        resume=resume,
        stop_after=stop_after,
        on_epoch=on_epoch or (lambda index, record: None),
        log=log or logging.getLogger("egnas_jax").warning,
        monitor=monitor or Silent(),
    )
    batched = _decided(call, batched)
    run = _one_by_one if batched == 1 else functools.partial(_batches, batched=batched)
    endings, width = run(call)
    return SearchesResult(
        results=tuple(ending.result for ending in endings),
        errors={i: end.error for i, end in enumerate(endings) if end.error},
        labels=tuple(setting_labels(configs)),
        width=width,
    )


def run_names(configs: Sequence[SearchConfig]) -> list[str]:
    """Returns the directory of each search below the common one.

    Names are seedN, in a directory for each combination of the other settings in which
    the searches differ, such as strategy.eta=0.2,strategy.zeta=1.0/seed0.
    """
    return [
        "/".join(filter(None, (label, f"seed{config.seed}")))
        for label, config in zip(setting_labels(configs), configs, strict=True)
    ]


def setting_labels(configs: Sequence[SearchConfig]) -> list[str]:
    """Returns the settings of each search that differ between them, but for the seed.

    Characters that a file name may not have are written as in a URL.
    """
    settings = [dict(flat(as_dict(config))) for config in configs]
    paths = dict.fromkeys(path for each in settings for path in each)
    varied = [
        path
        for path in paths
        if path not in ("seed", *OF_THE_RUN)
        and len({repr(each.get(path)) for each in settings}) > 1
    ]
    return [setting_label(config, varied) for config in configs]


def _folders(
    configs: Sequence[SearchConfig], out: str | pathlib.Path | None
) -> tuple[pathlib.Path | None, ...]:
    """The run directory of each search.

    Raises:
      ValueError: there is no search, or two of them have the same directory.
    """
    if not configs:
        raise ValueError("There is no configuration to search with. Give at least one.")
    if out is None:
        return (None,) * len(configs)
    if (pathlib.Path(out) / "config.json").exists():
        raise ValueError(
            f"{out} is the directory of a run, and cannot hold those of several. Name "
            f"another --out."
        )
    names = run_names(configs)
    for index, name in enumerate(names):
        if (first := names.index(name)) < index:
            raise ValueError(
                f"Searches {first + 1} and {index + 1} have the same directory, "
                f"{pathlib.Path(out) / name}. Give each search another seed or another "
                f"setting."
            )
    return tuple(pathlib.Path(out) / name for name in names)


def _decided(call: _Call, batched: str | int) -> int | None:
    """How many searches run at a time; None: as many as the memory holds.

    Raises:
      ValueError: the searches cannot run as one program; or they began in batches of
        another size.
    """
    count = len(call.configs)
    places = {
        index: place_of(folder)
        for index, folder in enumerate(call.folders)
        if folder and (folder / "environment.json").exists()
    }
    began = {place.members for place in places.values()}
    if batched == "auto":
        width = _automatic(call) if not began else min(began)
    else:
        width = {"on": count, "off": 1}.get(batched, batched)
        width = even_width(count, width)
    if began and began != {width}:
        sizes = ", ".join(map(str, sorted(began)))
        raise ValueError(
            f"The runs in {call.folders[0].parent} began in batches of {sizes}, and "
            f"{width} would run at a time now, which rounds differently. Go on with as "
            f"many: --batched {max(began)}."
        )
    displaced = [i for i, place in places.items() if place.position != i % (width or 1)]
    if displaced:
        raise ValueError(
            f"{call.folders[displaced[0]]} began at another position of its batch, "
            f"which may round differently. Go on with the searches that it began with, "
            f"in their order."
        )
    if width != 1:
        check_batchable(call.configs)
    return width


def _automatic(call: _Call) -> int | None:
    """Whether one after another is better: on a CPU, and where batches cannot be."""
    if jax.default_backend() == "cpu" or len(call.configs) == 1:
        return 1
    try:
        check_batchable(call.configs)
    except ValueError as error:
        call.log(f"The searches run one after another: {error}")
        return 1
    return None


def _one_by_one(call: _Call) -> tuple[list[Ending], int]:
    endings = []
    for index, config in enumerate(call.configs):
        try:
            result = run_search(
                config,
                out=call.folders[index],
                resume=call.resume,
                stop_after=call.stop_after,
                on_epoch=functools.partial(call.on_epoch, index),
                log=call.log,
                monitor=call.monitor,
                **call.sources,
            )
            endings.append(Ending(result))
        except FloatingPointError as error:
            call.log(f"{call.folders[index] or f'Search {index + 1}'}: {error}")
            endings.append(Ending(None, error))
    return endings, 1


def _batches(call: _Call, batched: int | None) -> tuple[list[Ending], int]:
    """Runs one batch after another; all of them have the same programs."""
    setup = set_up_members(
        call.configs,
        call.folders,
        call.sources,
        on_epoch=call.on_epoch,
        log=call.log,
    )
    _check_folders(setup, call, batched)
    call.monitor.data_loaded(setup.setups[0])
    width, programs = batched, None
    if batched is None:
        width, programs = fitting_programs(setup, call.monitor)
        if width == 1:
            return _one_by_one(call)
    options = BatchOptions(
        width=width,
        resume=call.resume,
        stop_after=call.stop_after,
        data_dir=call.sources["data_dir"],
        watch=call.monitor.compiling,
    )
    endings = []
    for start in range(0, len(call.configs), width):
        rows = slice(start, start + width)
        part = setup._replace(setups=setup.setups[rows], members=setup.members[rows])
        endings += run_batch(part, programs, options)
    return endings, width


def _check_folders(setup: BatchSetup, call: _Call, width: int | None) -> None:
    """Refuses directories of other configurations, before anything is written."""
    for each in setup.setups:
        folder = each.run.folder
        if folder is not None:
            directory.check_configuration(each.config, folder)
            warn_of_changes(folder, call.log, width or 1)


def fitting_programs(
    setup: BatchSetup, monitor: StartMonitor
) -> tuple[int, MemberPrograms]:
    """Returns how many searches the memory of the device holds, and their programs.

    The compiler says what the programs reserve. Batches are halved until that fits.

    Args:
      setup: all searches.
      monitor: is told how far the programs are.

    Raises:
      OutOfMemoryError: even one search does not fit.
    """
    count, free = len(setup.members), free_bytes()
    width = count
    while True:
        try:
            programs = compiled_programs(setup, width, monitor.compiling)
            if width == 1 or free is None or reserved(programs) <= SHARE * free:
                return width, programs
        except OutOfMemoryError:
            if width == 1:
                raise
        width = even_width(count, -(-width // 2))


def reserved(programs: MemberPrograms) -> int:
    """Returns the bytes that the largest program of a batch reserves for a call."""
    compiled = [each for each in programs if isinstance(each, functools.partial)]
    return max(_bytes_of(program.func.memory_analysis()) for program in compiled)


def _bytes_of(analysis) -> int:
    """Arguments, results and temporary arrays of a program, shared ones once."""
    parts = (
        analysis.argument_size_in_bytes,
        analysis.output_size_in_bytes,
        analysis.temp_size_in_bytes,
    )
    return sum(parts) - analysis.alias_size_in_bytes
