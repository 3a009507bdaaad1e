"""A search run, opened to be looked at: what studies of its supernet read."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from egnas_jax.data.augment import augment, normalise
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import make_splits, seeded_order
from egnas_jax.nn.supernet import Supernet, make_supernet
from egnas_jax.runs.directory import stored_config
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.search_setup import prepare
from egnas_jax.search import loop
from egnas_jax.search.step import SearchState
from egnas_jax.training.sgd import stream
from egnas_jax.types import Array


class Searched(NamedTuple):
    """The newest whole checkpoint of a run; nothing of the run is changed.

    Attributes:
      config, run: as `preparation.prepare` makes them.
      net: the supernet, on one device.
      state: of the checkpoint.
      data_dir: where the run's data are, or None for the usual places.
    """

    config: SearchConfig
    run: loop.Run
    net: Supernet
    state: SearchState
    data_dir: str | None


def load(folder: pathlib.Path, data_dir: str | None, report: Callable) -> Searched:
    """The newest whole checkpoint of a run directory.

    Args:
      folder: of a search.
      data_dir: where its data are, or None for the usual places.
      report: called with notes (`str`).

    Raises:
      ValueError: the folder holds no such run or no whole checkpoint, or its data are
        not found or others.
    """
    config, run = prepare(stored_config(folder), data_dir, folder, report)
    progress, notes = loop.newest(run)
    if progress is None:
        raise ValueError(f"{folder} holds no whole checkpoint. {' '.join(notes)}")
    for note in notes:
        report(f"{note} The one before is used.")
    net = make_supernet(config.supernet)
    return Searched(config, run, net, progress.state, data_dir)


def valid_batches(
    searched: Searched, batches: int, batch_size: int, seed: int
) -> tuple[Array, Array]:
    """Disjoint batches of a run's validation images, as the search's own are.

    Args:
      searched: the run.
      batches, batch_size: M and N; there are at least M N validation images.
      seed: of their order, and of crops and flips where the search has them.

    Returns:
      images f32[M, N, H, W, C] and labels i32[M, N].
    """
    config, regime = searched.config, searched.run.strategy.regime
    dataset = load_dataset(config.data, searched.data_dir, config.seed)
    valid = make_splits(dataset, regime.split, config.seed).valid
    order = seeded_order(len(valid.labels), seed, "noise")
    chosen = order[: batches * batch_size]
    images, scale = jnp.asarray(valid.images[chosen]), (dataset.mean, dataset.std)
    if regime.augment_valid:
        images = augment(stream(seed, "noise images"), images, config.data, *scale)
    else:
        images = normalise(images, *scale)
    labels = jnp.asarray(valid.labels[chosen], jnp.int32)
    shape = batches, batch_size
    return images.reshape(*shape, *images.shape[1:]), labels.reshape(shape)
