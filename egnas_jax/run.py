"""One search from a configuration to a run directory."""

import contextlib
import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax import checkpoint, record, tensorboard
from egnas_jax.config import SearchConfig, as_dict, differences, from_dict
from egnas_jax.data.batches import check_batch_size
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import make_splits
from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network import NetworkConfig
from egnas_jax.nn.supernet import check_image_shape, make_supernet
from egnas_jax.search import loop
from egnas_jax.search.weights import Pixels, SearchState, make_programs
from egnas_jax.space import SPACES, derive, draw_svg
from egnas_jax.strategies import STRATEGIES


def prepare(
    config: SearchConfig, data_dir: str | None, folder: pathlib.Path, report: Callable
) -> tuple[SearchConfig, loop.Run]:
    """Data loaded and checked, programs made; nothing compiled, nothing written.

    Args:
      config: of the search.
      data_dir: where to look for the data, or None for the usual places.
      folder: run directory.
      report: called with each epoch's line, and with notes (`str`).

    Returns:
      The configuration with the data's number of classes, and the run.

    Raises:
      ValueError: the data do not fit the configuration, or a package is missing that
        it asks for.
    """
    if config.tensorboard:
        tensorboard.check_installed()
    dataset = load_dataset(config.data, data_dir, config.seed)
    check_image_shape(dataset.images.shape[1:])
    config = _with_classes(config, dataset)
    net, strategy = _network_and_strategy(config)
    splits = make_splits(dataset, strategy.regime.split, config.seed)
    check_batch_size(config.batch_size, len(splits.train.labels))
    check_batch_size(strategy.valid_batch_size, len(splits.valid.labels),
                     "the strategy's validation batch")  # fmt: skip
    warmup = getattr(config.strategy, "warmup", 0)
    if warmup >= config.epochs:
        report(
            f"strategy.warmup is {warmup} and epochs {config.epochs}: alpha will not "
            f"move."
        )
    train, valid = (
        Pixels(*map(jax.device_put, part)) for part in (splits.train, splits.valid)
    )
    programs = make_programs(
        net,
        strategy,
        config.sgd,
        config.data,
        (dataset.mean, dataset.std),
        train,
        valid,
        config.seed,
    )
    return config, loop.Run(
        folder,
        programs,
        strategy,
        config.sgd,
        config.steps_per_call,
        config.keep_checkpoints,
        report,
    )


def _with_classes(config, dataset):
    """The supernet's classes are the data's; a preset's number need not be repeated."""
    supernet = dataclasses.replace(config.supernet, num_classes=dataset.num_classes)
    return dataclasses.replace(config, supernet=supernet)


def _network_and_strategy(config: SearchConfig):
    _, make = STRATEGIES[config.strategy_name]
    net = make_supernet(config.supernet)
    return net, make(net, config.strategy)


class Origin(NamedTuple):
    """Another run's state, from which a new run starts.

    Attributes:
      folder: of that run, absolute.
      state: of its newest checkpoint, between two epochs.
      lines: its records of the epochs before.
    """

    folder: pathlib.Path
    state: SearchState
    lines: list[dict]


def find_origin(run: loop.Run, source: str | None, *, resume: bool) -> Origin | None:
    """What `--restore` names, or what a run that was never checkpointed started from.

    A run's own checkpoints come first: a continuation that was interrupted goes on
    where it was, not where it was branched from.

    Args:
      run: the new run.
      source: directory of the run to start from, or None.
      resume: whether the new run may exist already.

    Raises:
      ValueError: `source` holds no finished checkpoint or one of another shape, stands
        within an epoch, or has as many epochs as the new run will have.
    """
    note = run.folder / "restored.json"
    if resume and note.exists():
        recorded = json.loads(note.read_text())["run"]
        if source is not None and str(pathlib.Path(source).resolve()) != recorded:
            raise ValueError(
                f"{run.folder} started from {recorded}, not from {source}. Leave "
                f"--restore out, or name another --out."
            )
        source = recorded
    if source is None or (resume and checkpoint.steps(run.folder / "checkpoints")):
        return None
    folder = pathlib.Path(source).resolve()
    stored_config(folder)
    try:
        found = checkpoint.restore(folder / "checkpoints", loop.layout(run))
    except ValueError as error:
        raise ValueError(
            f"{source} cannot be restored under this configuration: {error}"
        ) from None
    state, epochs = found.tree, int(found.tree.epoch)
    if int(state.step):
        raise ValueError(
            f"{source} was interrupted within epoch {epochs}. End that epoch first: "
            f"egnas search --out {source} --resume --stop-after {epochs + 1}."
        )
    if epochs >= run.sgd.epochs:
        raise ValueError(
            f"{source} has {epochs} epochs and this run will have {run.sgd.epochs}: "
            f"nothing is left to run. Set epochs to more."
        )
    lines = [line for line in record.read(folder / "metrics.jsonl")
             if line["epoch"] < epochs]  # fmt: skip
    return Origin(folder, state, lines)


def claim(
    config: SearchConfig, folder: pathlib.Path, origin: Origin | None, *, resume: bool
) -> None:
    """Makes the directory of a run, or checks the one that is there.

    Raises:
      ValueError: the directory cannot be written, holds a run although `resume` is not
        set, or holds another configuration's.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stored = folder / "config.json"
        if stored.exists():
            if not resume:
                raise ValueError(
                    f"{folder} holds a run already. Add --resume to go on with it, or "
                    f"name another --out."
                )
            changed = differences(stored_config(folder), config)
            if changed:
                raise ValueError(
                    f"{folder} holds a run of another configuration: "
                    f"{'; '.join(changed)}. Use its settings or another --out."
                )
        elif any(folder.iterdir()):
            raise ValueError(
                f"{folder} is not empty and holds no run. Name another --out."
            )
        if origin is not None:
            record.write_json(folder / "restored.json", _described(origin))
        record.write_json(stored, as_dict(config))
        record.write_json(folder / "environment.json", environment())
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be written ({error.strerror}). Name another --out."
        ) from None


def _described(origin: Origin) -> dict:
    return {
        "run": str(origin.folder),
        "epoch": int(origin.state.epoch),
        "digest": loop.state_digest(origin.state),
    }


def execute(
    config: SearchConfig,
    run: loop.Run,
    origin: Origin | None,
    *,
    resume: bool,
    stop_after: int | None,
) -> dict:
    """Runs a search in its claimed directory and writes what it found; the summary."""
    start = loop.restore(run) if resume else None
    if start is None:
        start = _first(run, origin)
    if config.tensorboard:
        log = run.folder / "tensorboard"
        scalars = tensorboard.writer(log, int(start.state.epoch))
    else:
        scalars = contextlib.nullcontext(lambda line: None)
    with scalars as write:

        def report(line):
            write(line)
            run.report(line)

        state = loop.search(run._replace(report=report), start, stop_after)
    return finish(config, run, state)


def _first(run: loop.Run, origin: Origin | None) -> loop.Progress:
    """Where a run begins; the start from another run is checkpointed at once."""
    if origin is None:
        return loop.Progress(run.programs.init(), {})
    start = loop.Progress(origin.state, {})
    for line in origin.lines:
        record.append(run.folder / "metrics.jsonl", line)
    loop.save(run, start)
    return start


def finish(config: SearchConfig, run: loop.Run, state: SearchState) -> dict:
    """Genotype, drawing and summary of a state."""
    _, strategy = _network_and_strategy(config)
    space = SPACES[config.supernet.space]
    genotype = derive(
        space, jax.tree.map(np.asarray, strategy.incumbent(state.strategy))
    )
    record.write_text(run.folder / "genotype.json", genotype.to_json())
    record.write_text(run.folder / "genotype.svg", draw_svg(genotype))
    metrics = record.read(run.folder / "metrics.jsonl")
    network = NetworkConfig(num_classes=config.supernet.num_classes)
    summary = {
        "genotype": genotype.format(),
        "valid_accuracy": metrics[-1]["valid_accuracy"],
        "params": count_params(genotype, network),
        "seconds": sum(line["seconds"] for line in metrics),
        "epochs": len(metrics),
        "first_valid_accuracy": metrics[0]["valid_accuracy"],
        "chance": 1 / config.supernet.num_classes,
        "digest": metrics[-1]["digest"],
    }
    record.write_json(run.folder / "summary.json", summary)
    return summary


def stored_config(folder: pathlib.Path) -> SearchConfig:
    """The configuration of a run directory.

    Raises:
      ValueError: it holds no run.
    """
    try:
        return from_dict(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(folder)!r} holds no run ({type(error).__name__}: no readable "
            f"config.json). Name a directory that `egnas search` wrote."
        ) from None


def environment() -> dict:
    """What a figure may depend on: versions, device, flags."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    device = jax.devices()[0]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "backend": jax.default_backend(),
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "mesh": None,
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
    }
