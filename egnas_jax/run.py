"""One search from a configuration to a run directory."""

import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from egnas_jax import record
from egnas_jax.config import SearchConfig, as_dict, differences, from_dict
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import make_splits
from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network import NetworkConfig
from egnas_jax.nn.supernet import check_image_shape, make_supernet
from egnas_jax.search import loop
from egnas_jax.search.weights import Pixels, make_programs
from egnas_jax.space import SPACES, derive, draw_svg
from egnas_jax.strategies import STRATEGIES


def prepare(
    config: SearchConfig, data_dir: str | None, folder: pathlib.Path, report: Callable
) -> tuple[SearchConfig, loop.Run]:
    """Data loaded and checked, programs made; nothing compiled, nothing written.

    Raises:
      ValueError: the data do not fit the configuration.
    """
    dataset = load_dataset(config.data, data_dir, config.seed)
    config = _with_classes(config, dataset)
    kind_config, make = STRATEGIES[config.strategy_name]
    assert isinstance(config.strategy, kind_config)
    regime = config.strategy.regime
    check_image_shape(dataset.images.shape[1:])
    splits = make_splits(dataset, regime.split, config.seed)
    for name, wanted, part in (
        ("batch_size", config.batch_size, splits.train),
        ("the validation batch of the strategy", regime.valid_batch_size, splits.valid),
    ):
        if wanted > len(part.labels):
            raise ValueError(
                f"{name} is {wanted}, but there are {len(part.labels)} images in that "
                f"part of {dataset.name}. Lower it or give more images."
            )
    warmup = getattr(config.strategy, "warmup", 0)
    if warmup >= config.epochs:
        report(
            f"strategy.warmup is {warmup} and epochs {config.epochs}: alpha will not "
            f"move."
        )
    net = make_supernet(config.supernet)
    train, valid = (
        Pixels(*map(jax.device_put, part)) for part in (splits.train, splits.valid)
    )
    programs = make_programs(
        net,
        make(net, config.strategy),
        regime,
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
        config.sgd,
        regime,
        config.steps_per_call,
        config.keep_checkpoints,
        report,
    )


def _with_classes(config, dataset):
    """The supernet's classes are the data's; a preset's number need not be repeated."""
    supernet = dataclasses.replace(config.supernet, num_classes=dataset.num_classes)
    return dataclasses.replace(config, supernet=supernet)


def execute(
    config: SearchConfig,
    run: loop.Run,
    *,
    resume: bool,
    stop_after: int | None,
) -> dict:
    """Runs a prepared search and writes its directory; the summary.

    Raises:
      ValueError: the directory cannot be written, holds a run although `resume` is not
        set, or holds another configuration's.
    """
    folder = run.folder
    _claim(config, folder, resume)
    record.write_json(folder / "environment.json", environment())
    state = loop.restore(run) if resume else run.programs.init()
    state = loop.search(run, state, stop_after)
    return finish(config, run, state)


def finish(config, run, state) -> dict:
    """Genotype, drawing and summary of a state."""
    _, make = STRATEGIES[config.strategy_name]
    strategy = make(make_supernet(config.supernet), config.strategy)
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


def _claim(config: SearchConfig, folder: pathlib.Path, resume: bool) -> None:
    """Makes the directory of a run, or checks the one that is there."""
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
        record.write_json(stored, as_dict(config))
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be written ({error.strerror}). Name another --out."
        ) from None


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


def verify(config: SearchConfig, run: loop.Run) -> list[str]:
    """Replays a run's epochs from its first state and compares digests.

    Returns:
      A line for each epoch that differs.
    """
    lines = record.read(run.folder / "metrics.jsonl")
    if not lines:
        raise ValueError(f"{run.folder} has no finished epoch to verify.")
    state, wrong = run.programs.init(), []
    for line in lines:
        state, again = loop.run_epoch(run, state)
        if again["digest"] != line["digest"]:
            wrong.append(f"epoch {line['epoch']}: {line['digest'][:12]} was recorded, "
                         f"{again['digest'][:12]} came out")  # fmt: skip
        run.report(again)
    return wrong
