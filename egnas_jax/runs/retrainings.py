"""Trains networks of one genotype, one after another or several as one program."""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from egnas_jax.data.dataset import Dataset
from egnas_jax.data.examples import StreamedDataset
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.datasets import make_data
from egnas_jax.runs import directory
from egnas_jax.runs.batch_shape import (
    ONE_BY_ONE,
    check_mode,
    check_one_process,
    chosen_shape,
)
from egnas_jax.runs.batchable import check_differences
from egnas_jax.runs.data import ArrayData, data_as_loaded
from egnas_jax.runs.environment import warn_of_changes
from egnas_jax.runs.genotype_source import Source, plugins_of, read_genotype
from egnas_jax.runs.initial_weights import with_initial_digest
from egnas_jax.runs.retrain import (
    check_one_origin,
    prepare,
    run_retraining,
    with_search_seconds,
)
from egnas_jax.runs.retrain_batch import (
    RetrainBatch,
    compiled_programs,
    part_of,
    run_batch,
)
from egnas_jax.runs.retrain_config import from_dict, with_genotype
from egnas_jax.runs.retrain_data import load_data
from egnas_jax.runs.retrain_result import RetrainResult
from egnas_jax.runs.run_names import folders_of, one_path_each
from egnas_jax.runs.several import Ending, decided_width, one_after_another
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.member_axis import members_mesh, put

# settings that are arguments of a batch's programs
BATCHABLE = (
    *("seed", "learning_rate", "learning_rate_min", "momentum", "weight_decay"),
    *("clip_norm", "auxiliary_weight", "network.drop_path"),
)


class RetrainingsResult(NamedTuple):
    """What several retrainings came to, in the order of their configurations.

    Attributes:
      results: result of each; None where its loss was not finite. The arrays of those
        that ran as a batch are on the host.
      errors: index of a retraining -> the error that ended it.
      width: retrainings that ran at a time.
    """

    results: tuple[RetrainResult | None, ...]
    errors: dict[int, FloatingPointError]
    width: int


class _Call(NamedTuple):
    """The arguments of `run_retrainings` that each of its ways needs."""

    genotype: Source
    configs: tuple[RetrainConfig, ...]
    folders: tuple[pathlib.Path | None, ...]
    restores: tuple[pathlib.Path | None, ...]
    sources: dict
    resume: bool
    stop_after: int | None
    on_epoch: Callable[[int, dict], Any]
    log: Callable[[str], Any]
    search_seconds: float | None


@pinned()
def run_retrainings(
    genotype: Source,
    configs: Sequence[RetrainConfig],
    out: str | pathlib.Path | Sequence[str | pathlib.Path] | None = None,
    *,
    batched: str | int = "auto",
    data: ArrayData | None = None,
    data_dir: str | os.PathLike | None = None,
    resume: bool = False,
    restores: Sequence[str | os.PathLike | None] | None = None,
    stop_after: int | None = None,
    on_epoch: Callable[[int, dict], Any] | None = None,
    log: Callable[[str], Any] | None = None,
    search_seconds: float | None = None,
) -> RetrainingsResult:
    """Trains networks of one genotype, each as `run_retraining` does.

    Those that run as one program may differ in the settings of `BATCHABLE`. Such a
    retraining agrees with the same one alone to rounding, and bit for bit with itself
    in every batch of as many members on a device, whatever the others are
    (docs/many_searches.md).

    Args:
      genotype: see `run_retraining`.
      configs: of the retrainings, from `retrain_config`.
      out: directory for their run directories, which are named by what differs (seedN);
        or the directory of each; None writes nothing.
      batched: how many run at a time, see `run_searches`. All devices of this process
        divide a batch.
      data, data_dir, resume, stop_after, search_seconds: see `run_retraining`, for
        every retraining.
      restores: the run whose newest state each starts from, or None.
      on_epoch: called with the index of a retraining and the record of its epoch.
      log: called with notes; None: the logger "egnas_jax" gets them as warnings.

    Returns:
      The results. A retraining of a batch whose loss is NaN or infinite ends alone,
      and so does one of those that run one after another.

    Raises:
      ValueError: an argument, a configuration or the data cannot be used, a directory
        is that of two runs or holds another, or retrainings that are to run as one
        program differ in a setting that is part of it; nothing was written.
      RuntimeError: training failed; the message says how to go on.
      Interrupted: SIGINT or SIGTERM arrived, and checkpoints were written (a
        KeyboardInterrupt).
    """
    check_mode(batched)
    folders = folders_of(configs, out)
    log = log or logging.getLogger("egnas_jax").warning
    cells = read_genotype(genotype, log=log)
    call = _Call(
        genotype=genotype,
        configs=tuple(with_genotype(config, cells) for config in configs),
        folders=folders,
        restores=one_path_each(restores, len(configs), "restores"),
        sources={"data": data, "data_dir": data_dir},
        resume=resume,
        stop_after=stop_after,
        on_epoch=on_epoch or (lambda index, record: None),
        log=log,
        search_seconds=search_seconds,
    )
    _check_folders(call)
    width = _decided(call, batched)
    if width == ONE_BY_ONE:
        endings, at_a_time = _one_by_one(call)
    else:
        endings, at_a_time = _batches(call, width)
    return RetrainingsResult(
        results=tuple(ending.result for ending in endings),
        errors={i: end.error for i, end in enumerate(endings) if end.error},
        width=at_a_time,
    )


def _check_folders(call: _Call) -> None:
    """Refuses directories that cannot hold the runs."""
    for config, folder, restore in zip(
        call.configs, call.folders, call.restores, strict=True
    ):
        directory.check_arguments(
            folder, resume=call.resume, stop_after=call.stop_after
        )
        check_one_origin(config, restore)


def check_batchable(configs: Sequence[RetrainConfig]) -> None:
    """Refuses retrainings that one program cannot serve.

    Args:
      configs: of the retrainings.

    Raises:
      ValueError: names the first setting that stands in the way, and why.
    """
    check_one_process()
    check_differences(configs, BATCHABLE, _reason, "retrainings")
    drops = {config.network.drop_path for config in configs}
    if 0 in drops and len(drops) > 1:
        raise ValueError(
            f"network.drop_path is 0 in some retrainings and not in others "
            f"({', '.join(map(str, sorted(drops)))}), but a program drops paths or "
            f"draws no random numbers for it. Run these one after another (batched "
            f"off), or those with 0 as a batch of their own."
        )


def _reason(path: str) -> str:
    if path in ("epochs", "steps_per_call", "evaluate_every", "warmup", "schedule"):
        return "the calls of one host serve all retrainings of a batch"
    if path.startswith("data.") or path in ("split_seed", "valid_share", "stream"):
        return "the retrainings of a batch share their images"
    return "it is part of the compiled program, of which a batch has one"


def _decided(call: _Call, batched: str | int) -> int | None:
    """How many retrainings a device computes together, see `decided_width`."""
    devices = jax.local_device_count()
    return decided_width(
        call, batched, devices, check=check_batchable, what="retrainings"
    )


def _one_by_one(call: _Call) -> tuple[list[Ending], int]:
    run = functools.partial(
        run_retraining, call.genotype, search_seconds=call.search_seconds
    )
    return one_after_another(call, run, "Retraining")


def _batches(call: _Call, width: int | None) -> tuple[list[Ending], int]:
    """Trains one batch after another; all of them have the same programs."""
    source, configs = _loaded(call, width)
    count, devices = len(configs), jax.local_device_count()
    quiet = call._replace(log=lambda text: None)
    first = _set_up(quiet, source, configs[:1], devices=1)  # for its shapes
    compiled = functools.cache(functools.partial(compiled_programs, first))
    shape = chosen_shape(count, width, devices, compiled)
    if width is None and shape.at_a_time == 1:
        return _one_by_one(call)
    batch, endings = _set_up(call, source, configs, devices=shape.devices), []
    for start in range(0, count, shape.at_a_time):
        part = part_of(batch, slice(start, start + shape.at_a_time))
        endings += run_batch(
            part,
            functools.partial(compiled, shape),
            shape,
            resume=call.resume,
            stop_after=call.stop_after,
        )
    return endings, shape.at_a_time


def _loaded(
    call: _Call, width: int | None
) -> tuple[Dataset | StreamedDataset, list[RetrainConfig]]:
    """The data that all retrainings share, and the configurations with their digest.

    Raises:
      ValueError: the data cannot be used, or a directory is of another configuration.
    """
    source, loaded = load_data(call.configs[0], **call.sources)
    digest, data_dir = loaded.data.digest, call.sources["data_dir"]
    classes, configs = loaded.network.num_classes, []
    for config, folder in zip(call.configs, call.folders, strict=True):
        config = dataclasses.replace(
            config,
            data=data_as_loaded(config.data, source.name, digest, data_dir),
            network=dataclasses.replace(config.network, num_classes=classes),
        )
        config = with_initial_digest(config, folder)
        if folder is not None:
            directory.check_configuration(config, folder, from_dict)
            warn_of_changes(folder, call.log, width or 1)
        configs.append(config)
    return source, configs


def _set_up(
    call: _Call,
    source: Dataset | StreamedDataset,
    configs: Sequence[RetrainConfig],
    *,
    devices: int,
) -> RetrainBatch:
    """Retrainings that share their images, on the devices; compiles nothing.

    Args:
      call: the arguments of `run_retrainings`.
      source, configs: from `_loaded`.
      devices: number of devices that divide a batch.
    """
    everywhere = functools.partial(put, members_mesh(devices), axes=None)
    data, prepared = make_data(source, configs[0], everywhere), []
    for index, (config, folder) in enumerate(zip(configs, call.folders, strict=False)):
        run, metadata = prepare(
            source,
            config,
            folder,
            on_epoch=functools.partial(call.on_epoch, index),
            log=call.log,
            data=data,
        )
        metadata = with_search_seconds(metadata, folder, call.search_seconds)
        prepared.append((run, metadata))
    runs, metadata = zip(*prepared, strict=True)
    return RetrainBatch(runs, metadata, call.restores, plugins_of(call.genotype))
