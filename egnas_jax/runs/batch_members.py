"""Loads the data of several searches, and makes the searches members of one batch.

Images that several searches have are loaded once and copied to the device once. Where
the seed holds out images for testing, each seed has a pool of its own.

Dims: N images of all pools, H, W height and width in pixels, C channels.
"""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from egnas_jax.data.batches import check_batch_size
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.source import seed_chooses_images
from egnas_jax.data.split import split_indices
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.runs.data import ArrayData
from egnas_jax.runs.schedule_checks import note_long_warmup
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.search_setup import (
    SearchSetup,
    as_loaded,
    load_search_dataset,
    run_without_programs,
)
from egnas_jax.search.data_checks import check_valid_batch_size
from egnas_jax.search.members import Member
from egnas_jax.types import Array


class BatchSetup(NamedTuple):
    """Searches that are ready to run as a batch; nothing was compiled or written yet.

    Attributes:
      setups: setup of each search.
      members: each search as a member of the batch.
      images: of all pools and their labels, u8[N, H, W, C] and i32[N], on the device.
      restores: the run that each starts from, or None.
    """

    setups: tuple[SearchSetup, ...]
    members: tuple[Member, ...]
    images: tuple[Array, Array]
    restores: tuple[pathlib.Path | None, ...]


def part_of(setup: BatchSetup, rows: slice) -> BatchSetup:
    """Returns some searches, with the images of all."""
    return setup._replace(
        setups=setup.setups[rows],
        members=setup.members[rows],
        restores=setup.restores[rows],
    )


def set_up_members(
    configs: Sequence[SearchConfig],
    folders: Sequence[pathlib.Path | None],
    sources: dict[str, Any],
    *,
    restores: Sequence[pathlib.Path | None] | None = None,
    on_epoch: Callable[[int, dict], None] = lambda index, record: None,
    log: Callable[[str], None] = lambda text: None,
) -> BatchSetup:
    """Loads and checks the data of several searches.

    Args:
      configs: of the searches, which `check_batchable` accepts.
      folders: run directory of each search; None writes nothing.
      sources: `data` and `data_dir`, see `run_searches`.
      restores: the run that each starts from; None: none starts from another.
      on_epoch: called with the index of a search and the record of its epoch.
      log: called with notes.

    Raises:
      ValueError: the data do not fit a configuration, or differ in shape.
    """
    datasets = _load_all(configs, **sources)
    loaded = [
        as_loaded(config, dataset, sources.get("data_dir"), 1, folder=folder, log=log)
        for config, dataset, folder in zip(configs, datasets, folders, strict=True)
    ]
    note_long_warmup(loaded[0], log)
    images, starts = _pool_of(loaded, datasets)
    setups, members = [], []
    for index, (config, dataset) in enumerate(zip(loaded, datasets, strict=True)):
        member = _member_of(config, dataset, starts[index])
        run = member.run._replace(
            folder=folders[index],
            on_epoch=functools.partial(on_epoch, index),
            log=log,
        )
        setups.append(SearchSetup(config, run, dataset))
        members.append(member._replace(run=run))
    _check_same_sizes(members)
    restores = restores or (None,) * len(configs)
    return BatchSetup(tuple(setups), tuple(members), images, tuple(restores))


def _load_all(
    configs: Sequence[SearchConfig],
    data: ArrayData | None = None,
    data_dir: str | pathlib.Path | None = None,
) -> list[Dataset]:
    """The data set of each search; none is loaded twice."""

    @functools.cache
    def load(index: int) -> Dataset:
        return load_search_dataset(configs[index], data, data_dir)

    def key(config: SearchConfig) -> tuple:
        has_seed = data is not None or seed_chooses_images(config.data)
        return config.data, config.seed if has_seed else None

    keys = [key(config) for config in configs]
    return [load(keys.index(each)) for each in keys]


def _pool_of(
    configs: Sequence[SearchConfig], datasets: Sequence[Dataset]
) -> tuple[tuple[Array, Array], list[int]]:
    """The images and labels of distinct data sets, and where each search's begin."""
    starts, parts, count = {}, [], 0
    for config, dataset in zip(configs, datasets, strict=True):
        if config.data.digest not in starts:
            starts[config.data.digest] = count
            parts.append((dataset.images, dataset.labels.astype(np.int32)))
            count += len(dataset.labels)
    images, labels = (jnp.asarray(np.concatenate(p)) for p in zip(*parts, strict=True))
    return (images, labels), [starts[config.data.digest] for config in configs]


def _member_of(config: SearchConfig, dataset: Dataset, start: int) -> Member:
    """One search, whose images begin at a row of the pool."""
    kind, stratified = config.schedule.split, dataset.stratified
    train, valid = split_indices(
        dataset.labels, kind, config.seed, stratified=stratified
    )
    check_batch_size(config.batch_size, len(train))
    check_valid_batch_size(config.strategy.valid_batch_size, len(valid))
    run = run_without_programs(
        config,
        make_supernet(config.supernet),
        dataset.images.shape[1:],
        (len(train), len(valid)),
    )
    return Member(
        run=run,
        train=np.int32(train + start),
        valid=np.int32(valid + start),
        scale=np.asarray((dataset.mean, dataset.std), np.float32),
    )


def _check_same_sizes(members: Sequence[Member]) -> None:
    """Refuses data whose shapes depend on the seed."""
    runs = [member.run for member in members]
    sizes = {(*run.image_shape, run.num_train, run.num_valid) for run in runs}
    classes = {run.problem.net.config.num_classes for run in runs}
    if len(sizes) > 1 or len(classes) > 1:
        raise ValueError(
            f"The searches of a batch have data of different sizes: {sorted(sizes)} "
            f"(height, width, channels, training and validation images) and "
            f"{sorted(classes)} classes. Run them one after another (batched off)."
        )
