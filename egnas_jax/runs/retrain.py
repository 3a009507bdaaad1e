"""Runs one retraining, from a genotype and a configuration to a trained network."""

import contextlib
import functools
import logging
import os
import pathlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from egnas_jax.data.dataset import Dataset
from egnas_jax.data.examples import StreamedDataset
from egnas_jax.nn.network import check_image_shape, make_network
from egnas_jax.retrain import loop
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.datasets import RetrainData, make_data
from egnas_jax.retrain.memory_advice import memory_advice
from egnas_jax.retrain.step import RetrainProblem, RetrainState, make_programs
from egnas_jax.runs import directory
from egnas_jax.runs.data import ArrayData
from egnas_jax.runs.environment import warn_of_changes
from egnas_jax.runs.failures import running
from egnas_jax.runs.finished_network import load_metadata
from egnas_jax.runs.genotype_source import Source, plugins_of
from egnas_jax.runs.initial_weights import with_initial_digest
from egnas_jax.runs.plugins import Plugin
from egnas_jax.runs.retrain_config import from_dict, with_genotype
from egnas_jax.runs.retrain_data import load_data
from egnas_jax.runs.retrain_result import Metadata, RetrainResult
from egnas_jax.runs.retrain_resume import RetrainStart, find_start, write_beginning
from egnas_jax.runs.retrain_summary import summarise
from egnas_jax.runs.tracking import check_trackers, with_trackers
from egnas_jax.space import draw_svg, parse_genotype
from egnas_jax.storage import records
from egnas_jax.training.jax_settings import pinned


@pinned()
def run_retraining(
    genotype: Source,
    config: RetrainConfig,
    *,
    out: str | os.PathLike | None = None,
    data: ArrayData | None = None,
    data_dir: str | os.PathLike | None = None,
    resume: bool = False,
    restore: str | os.PathLike | None = None,
    stop_after: int | None = None,
    on_start: Callable[[loop.RetrainRun], Any] | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
    on_steps: Callable[[int, int], Any] | None = None,
    log: Callable[[str], Any] | None = None,
    search_seconds: float | None = None,
) -> RetrainResult:
    """Trains the network of a genotype from scratch and evaluates it on the test set.

    SIGINT (Ctrl-C) and SIGTERM end a run with a directory after a checkpoint, by
    `Interrupted`.

    Args:
      genotype: a genotype, a name of the zoo, a text or a file that holds one, or the
        run directory of its search: anything that `read_genotype` takes.
      config: from `retrain_config`.
      out: run directory for configuration, records, checkpoints and results; None
        writes nothing.
      data: (images u8[N, H, W, C], labels [N]), of which a fifth becomes the test set,
        or (images, labels, test images, test labels), or a form of others that
        `runs.data.dataset_from_arrays` knows; None loads `config.data`.
      data_dir: the only place to look for `config.data`; None looks in the usual ones.
      resume: go on from the newest checkpoint in `out`.
      restore: directory of a run whose newest state this one starts from, to train
        longer for example.
      stop_after: end early when so many epochs are done, to be resumed later.
      on_start: called with the run once its data are loaded, before it compiles.
      on_epoch: called with the record of each epoch, as metrics.jsonl holds it.
      on_steps: called with the number of weight steps that are begun in an epoch, and
        that of all its steps, after each call of the device; for progress bars.
      log: called with notes, such as a damaged checkpoint; None: the logger
        "egnas_jax" gets them as warnings.
      search_seconds: duration of the search for the genotype, if known.

    Raises:
      ValueError: an argument, the configuration or the data cannot be used, or `out`
        holds another run; nothing was written.
      RuntimeError: training failed: it ran out of memory, or a file could not be
        written. The message says how to go on.
      FloatingPointError: a loss is not finite.
    """
    folder = None if out is None else pathlib.Path(out)
    directory.check_arguments(folder, resume=resume, stop_after=stop_after)
    check_one_origin(config, restore)
    log = log or logging.getLogger("egnas_jax").warning
    history: list[dict] = []

    def keep_record(record: dict) -> None:
        history.append(record)
        if on_epoch is not None:
            on_epoch(record)

    config = with_genotype(config, genotype, log=log)
    plugins = plugins_of(genotype)
    source, config = load_data(config, data, data_dir)
    config = with_initial_digest(config, folder)
    run, metadata = prepare(source, config, folder, on_epoch=keep_record, log=log)
    run = run._replace(on_steps=on_steps or run.on_steps)
    metadata = with_search_seconds(metadata, folder, search_seconds)
    if folder is not None:
        directory.check_configuration(config, folder, from_dict)
        warn_of_changes(folder, log)
    start = find_start(run, restore, resume=resume)
    history.extend(start.records)
    advise = functools.partial(memory_advice, config=config, folder=folder)
    claim = claim_run(run, start, stop_after, resume=resume, plugins=plugins)
    with claim, running(advise):
        write_network_files(run, metadata)
        write_beginning(run, start)
        if on_start is not None:
            on_start(run)
        first_epoch = loop.num_recorded(run, int(start.state.step))
        with with_trackers(run, config, first_epoch) as run:
            state = _train(run, start.state, stop_after)
        return result_of(run, metadata, state, history)


def check_one_origin(config: RetrainConfig, restore: str | os.PathLike | None) -> None:
    """Refuses two runs to start from.

    Raises:
      ValueError: `restore` and `config.init_from` are both given.
    """
    if restore is not None and config.init_from is not None:
        raise ValueError(
            f"restore is {str(restore)!r} and init_from is {config.init_from!r}. Leave "
            f"one of the two out: --restore goes on with the training of a run, and "
            f"--init-from starts anew with its weights."
        )


def prepare(
    source: Dataset | StreamedDataset,
    config: RetrainConfig,
    folder: pathlib.Path | None,
    *,
    on_epoch: Callable[[dict], Any],
    log: Callable[[str], Any],
    data: RetrainData | None = None,
) -> tuple[loop.RetrainRun, Metadata]:
    """Builds the network and its programs; compiles nothing and writes nothing.

    Args:
      source, config: from `load_data`.
      folder: run directory, or None.
      on_epoch, log: see `run_retraining`.
      data: of `source`, which several retrainings may share; None: they are made here.

    Raises:
      ValueError: the data do not suit the configuration, the genotype has no path
        through a cell, or a package is missing that the configuration asks for.
    """
    check_trackers(config)
    if config.warmup > config.epochs:
        log(
            f"warmup is {config.warmup} and epochs is {config.epochs}: the learning "
            f"rate will rise to the end."
        )
    net = make_network(parse_genotype(config.genotype), config.network)
    data = data or make_data(source, config)
    pipeline = data.pipeline_of(config.seed)
    check_image_shape(config.network, data.image_shape)
    problem = RetrainProblem(
        net=net,
        config=config,
        image_shape=data.image_shape,
        scale=(source.mean, source.std),
        pipeline=pipeline,
    )
    run = loop.RetrainRun(
        folder=folder,
        config=config,
        net=net,
        programs=make_programs(problem),
        pipeline=pipeline,
        valid=data.valid,
        test=data.test,
        on_epoch=on_epoch,
        on_steps=lambda done, total: None,
        log=log,
    )
    metadata = Metadata(
        image_shape=data.image_shape,
        mean=source.mean,
        std=source.std,
        class_names=source.class_names,
        search_seconds=None,
    )
    return run, metadata


def with_search_seconds(
    metadata: Metadata, folder: pathlib.Path | None, seconds: float | None
) -> Metadata:
    """Adds the duration of the search; one in the directory of a resumed run stays.

    Args:
      metadata: of the retraining.
      folder: run directory, or None.
      seconds: of the search, if known.
    """
    if seconds is None and folder is not None and (folder / "model.json").exists():
        seconds = load_metadata(folder).search_seconds
    return metadata._replace(search_seconds=seconds)


def claim_run(
    run: loop.RetrainRun,
    start: RetrainStart,
    stop_after: int | None,
    *,
    resume: bool,
    plugins: tuple[Plugin, ...],
    batch: dict | None = None,
) -> AbstractContextManager[None]:
    """Returns a context that holds the lock of the run directory, if there is one.

    Args:
      run: the retraining.
      start: where it begins.
      stop_after: epochs after which it ends early, or None.
      resume: whether the directory may hold the run already.
      plugins: plug-ins that its genotype depends on.
      batch: what environment.json says of a batch, see `runs.environment`.
    """
    if run.folder is None:
        return contextlib.nullcontext()
    trains = int(start.state.step) < loop.last_step(run, stop_after)
    return directory.claim(
        run.config,
        run.folder,
        start.origin,
        resume=resume,
        trains=trains,
        plugins=plugins,
        batch=batch,
        log=run.log,
    )


def write_network_files(run: loop.RetrainRun, metadata: Metadata) -> None:
    """Writes what `load_network` needs besides the configuration, and the genotype."""
    if run.folder is None:
        return
    genotype = run.net.genotype
    records.write_json(run.folder / "model.json", metadata._asdict())
    records.write_text(run.folder / "genotype.json", genotype.to_json())
    records.write_text(run.folder / "genotype.svg", draw_svg(genotype))


def _train(run, state, stop_after) -> RetrainState:
    try:
        return loop.train(run, state, stop_after)
    finally:
        run.pipeline.close()


def result_of(
    run: loop.RetrainRun, metadata: Metadata, state: RetrainState, history: list[dict]
) -> RetrainResult:
    """Returns the trained network, and writes summary.json.

    Args:
      run, metadata: of the retraining.
      state: after its last epoch.
      history: records of its epochs; those of a directory come first.
    """
    if run.folder is not None:  # the epochs before a resume included
        history = records.read_epochs(run.folder)
    summary = summarise(history, run, metadata)
    if run.folder is not None:
        records.write_json(run.folder / "summary.json", summary)
    return RetrainResult(
        network=run.net,
        variables=state.variables,
        config=run.config,
        metadata=metadata,
        records=history,
        summary=summary,
        digest=summary["digest"],
        folder=run.folder,
    )
