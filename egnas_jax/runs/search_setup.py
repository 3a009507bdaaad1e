"""Of a configuration: data that were loaded and checked, and programs that are made."""

import copy
import dataclasses
import pathlib
from collections.abc import Callable

from egnas_jax import evolution, strategies
from egnas_jax.data.batches import check_batch_size
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import make_splits
from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.nn import primitives
from egnas_jax.nn.lowering import choice
from egnas_jax.nn.primitives import PRIMITIVES
from egnas_jax.nn.supernet import check_image_shape, make_supernet
from egnas_jax.runs.data import data_as_loaded, digest_of
from egnas_jax.runs.search_config import SearchConfig, compiled_in
from egnas_jax.search import loop
from egnas_jax.search.curvature import check_alpha
from egnas_jax.search.step import make_programs
from egnas_jax.space import SPACES
from egnas_jax.storage import tensorboard
from egnas_jax.strategies import STRATEGIES
from egnas_jax.training.devices import check_divisible, make_mesh, replicate
from egnas_jax.training.sgd import Pixels


def prepare(
    config: SearchConfig,
    data_dir: str | None,
    folder: pathlib.Path | None,
    report: Callable,
) -> tuple[SearchConfig, loop.Run]:
    """Data loaded and checked, programs made; nothing compiled, nothing written.

    Args:
      config: of the search.
      data_dir: where to look for the data, or None for the usual places.
      folder: run directory; None where another process writes it.
      report: called with each epoch's line, and with notes (`str`).

    Returns:
      The configuration with the data's number of classes and digest, its path made
      absolute and its devices counted, and the run.

    Raises:
      ValueError: the data do not fit the configuration or are not those that it names
        by their digest, or a package is missing that it asks for.
    """
    if config.tensorboard:
        tensorboard.check_installed()
    dataset = load_dataset(config.data, data_dir, config.seed)
    check_image_shape(dataset.images.shape[1:])
    config = _as_loaded(config, dataset)
    _, make = STRATEGIES[config.strategy_name]
    mesh = make_mesh(config.devices)
    check_divisible(config.batch_size, mesh)
    config = dataclasses.replace(config, devices=mesh.size if mesh else 1)
    net = make_supernet(config.supernet)._replace(mesh=mesh)
    strategy = make(net, config.strategy)
    splits = make_splits(dataset, strategy.regime.split, config.seed)
    check_batch_size(config.batch_size, len(splits.train.labels))
    check_batch_size(
        strategy.valid_batch_size,
        len(splits.valid.labels),
        "strategy.fitness_batch_size or .batch_size",
    )
    if config.watch.eigenvalue != "off":
        check_alpha(strategy)
        check_batch_size(config.watch.images, len(splits.valid.labels), "watch.images")
    warmup = getattr(config.strategy, "warmup", 0)
    if warmup >= config.epochs:
        report(
            f"strategy.warmup is {warmup} and epochs {config.epochs}: alpha will not "
            f"move."
        )
    train, valid = (
        Pixels(*replicate(mesh, part)) for part in (splits.train, splits.valid)
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
        validation_chunk=config.validation_chunk,
        watch=config.watch,
    )
    return config, loop.Run(
        folder,
        programs,
        strategy,
        config.sgd,
        config.steps_per_call,
        config.keep_checkpoints,
        report,
        config.watch,
        None if mesh else _identity(config, strategy.numbers),
    )


def _identity(config, numbers) -> dict | None:
    """What the programs are made of, for `search.ahead`.

    None where code takes part that a script has put into a table. Where that code was
    written says nothing: a decorated function bears the name of what it wraps, and one
    entry of a table may stand in the place of another.
    """
    space = SPACES[config.supernet.space]
    evolutions = [getattr(config.strategy, "evolution", None)]
    parts = (
        (STRATEGIES, strategies.OWN, [config.strategy_name]),
        (PRIMITIVES, primitives.OWN, space.primitives),
        (EVOLUTIONS, evolution.OWN, filter(None, evolutions)),
    )
    for table, own, names in parts:
        if any(table[name] is not own.get(name) for name in names):
            return None
    return {
        "settings": compiled_in(config, numbers),
        "space": space,
        "lowering": copy.deepcopy(  # as it is now
            [choice.TABLE, choice.CHOICES, choice.MOST_FOLDED_CHANNELS]
        ),
    }


def _as_loaded(config, dataset):
    """With the data's number of classes, their digest and an absolute path."""
    supernet = dataclasses.replace(config.supernet, num_classes=dataset.num_classes)
    return dataclasses.replace(
        config,
        supernet=supernet,
        data=data_as_loaded(config.data, dataset.name, digest_of(dataset)),
    )
