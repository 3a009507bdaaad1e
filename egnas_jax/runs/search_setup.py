"""Turns a SearchConfig into loaded data and uncompiled programs.

Dims: N images, H, W height and width in pixels, C channels.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from egnas_jax.data.batches import check_batch_size
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import make_splits
from egnas_jax.nn.lowering import choice
from egnas_jax.nn.supernet import (
    Supernet,
    check_image_shape,
    halvings_of,
    make_supernet,
)
from egnas_jax.nn.supernet_config import LivePrimitives
from egnas_jax.runs.data import (
    ArrayData,
    check_one_source,
    data_as_loaded,
    dataset_from_arrays,
    digest_of,
)
from egnas_jax.runs.limits import limit_of_run
from egnas_jax.runs.program_identity import program_identity
from egnas_jax.runs.schedule_checks import check_schedule, note_long_warmup
from egnas_jax.runs.search_config import SearchConfig, with_limit_of
from egnas_jax.runs.stages import config_of_stage, stage_of
from egnas_jax.runs.tracking import check_trackers
from egnas_jax.search.curvature import check_alpha
from egnas_jax.search.data_checks import check_batch_sizes
from egnas_jax.search.programs import make_programs
from egnas_jax.search.search_run import SearchRun
from egnas_jax.search.state import SearchData, SearchHyperparams, SearchProblem
from egnas_jax.search.strategy import Strategy
from egnas_jax.space import SPACES
from egnas_jax.space.derivation import check_derivation
from egnas_jax.strategies import STRATEGIES
from egnas_jax.training.devices import replicate
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.shards import Division, check_divisible, divide


class SearchSetup(NamedTuple):
    """A search that is ready to run; nothing has been compiled or written yet.

    Attributes:
      config: the configuration with the data's number of classes and digest, an
        absolute path, and the number of devices.
      run: what the loop runs; the first stage of a search in stages.
      dataset: the loaded data.
    """

    config: SearchConfig
    run: SearchRun
    dataset: Dataset


@pinned()
def set_up_search(
    config: SearchConfig,
    *,
    data: ArrayData | None = None,
    data_dir: str | pathlib.Path | None = None,
    folder: pathlib.Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
    on_steps: Callable[[int, int], None] = lambda done, total: None,
    log: Callable[[str], None] = lambda text: None,
) -> SearchSetup:
    """Loads and checks the data of a search, and makes its programs.

    Args:
      config: of the search.
      data: arrays, see `runs.data.dataset_from_arrays`; None: the data that the
        configuration names.
      data_dir: where to look for the data, or None for the usual places.
      folder: run directory; None writes nothing.
      on_epoch, on_steps: see `SearchRun`.
      log: called with notes.

    Raises:
      ValueError: the data do not fit the configuration or are not those that it names
        by their digest, or a package or a backend is missing that it asks for.
    """
    dataset = load_search_dataset(config, data, data_dir)
    division = divide(config.devices, config.shards)
    check_divisible(config.batch_size, division)
    devices = division.devices
    config = as_loaded(config, dataset, data_dir, devices, folder=folder, log=log)
    first = config_of_stage(config, None)
    images = _search_data(first, dataset, division.mesh)
    note_long_warmup(config, log)
    run = _stage_run(config, division, images, 0, None)
    if config.watch.eigenvalue != "off":
        check_alpha(run.problem.strategy)
    run = run._replace(folder=folder, on_epoch=on_epoch, on_steps=on_steps, log=log)
    return SearchSetup(config, run, dataset)


def load_search_dataset(
    config: SearchConfig,
    data: ArrayData | None,
    data_dir: str | pathlib.Path | None,
) -> Dataset:
    """Makes a data set of arrays, or loads the one that the configuration names.

    Args:
      config, data, data_dir: see `set_up_search`.

    Raises:
      ValueError: the data cannot be used.
    """
    check_one_source(data, data_dir)
    if data is None:
        return load_dataset(config.data, data_dir, config.seed)
    return dataset_from_arrays(data, config.data, config.seed)


def check_images(config: SearchConfig, image_shape: tuple[int, ...]) -> None:
    """Refuses images that the search cannot run on, before anything is compiled.

    Args:
      config: of the search.
      image_shape: (H, W, C).

    Raises:
      ValueError: the supernet cannot halve the images as often as it does, or the
        lowering does not take their size or this backend.
    """
    check_image_shape(image_shape, halvings_of(config.supernet))
    choice.for_images(config.supernet.lowering, image_shape[:2])


@pinned()
def search_data(
    config: SearchConfig,
    *,
    data: ArrayData | None = None,
    data_dir: str | pathlib.Path | None = None,
) -> SearchData:
    """Loads and splits the images of a search, and copies them to the default device.

    They are the images that `run_search` has with the same arguments.

    Args:
      config: of the search. Its `seed` chooses the split, and the images for testing
        that are left out where the data have no test set of their own.
      data: (images u8[N, H, W, C], labels [N]), or another form that
        `runs.data.dataset_from_arrays` knows; None: the data that the configuration
        names.
      data_dir: where to look for the data, or None for the usual places.

    Returns:
      Images u8[N, H, W, C] and labels i32[N] of training and validation, and the mean
      and standard deviation of the channels, f32[2, C]. Its method `valid_batch`
      normalises validation images, for `evaluate_population` and the like.

    Raises:
      ValueError: the data cannot be used, or cannot fill a batch.
    """
    dataset = load_search_dataset(config, data, data_dir)
    check_images(config, dataset.images.shape[1:])
    return _search_data(config_of_stage(config, None), dataset, None)


def _search_data(
    config: SearchConfig, dataset: Dataset, mesh: Mesh | None
) -> SearchData:
    """The images of a search, or of its first stage, on its devices."""
    return SearchData(
        *(replicate(mesh, part) for part in _split(config, dataset)),
        scale=replicate(mesh, np.asarray((dataset.mean, dataset.std), np.float32)),
    )


def _stage_run(
    config: SearchConfig,
    division: Division,
    data: SearchData,
    index: int,
    live: LivePrimitives | None,
) -> SearchRun:
    """One stage of a search; a search without stages is one.

    Args:
      config: of the whole search.
      division: the devices, see `shards.divide`.
      data: the images on them.
      index, live: see `SearchRun.enter`.
    """
    stage = stage_of(config, index, live)
    stage_config = config_of_stage(config, stage and stage.as_json())
    sizes = len(data.train.labels), len(data.valid.labels)
    net = make_supernet(stage_config.supernet)._replace(**division._asdict())
    run = run_without_programs(stage_config, net, data.train.images.shape[1:], sizes)
    problem, hyperparams = run.problem._replace(stage=index), run.hyperparams
    if stage is not None:
        hyperparams = hyperparams.replace(first_epoch=np.int32(stage.first))
    enter = functools.partial(_stage_run, config, division, data)
    return run._replace(
        problem=problem,
        programs=make_programs(problem, data),
        hyperparams=hyperparams,
        identity=None if division.mesh else run.identity,
        stage=stage,
        enter=enter if stage else None,
        all_epochs=config.epochs,
    )


def run_without_programs(
    config: SearchConfig,
    net: Supernet,
    image_shape: tuple[int, int, int],
    sizes: tuple[int, int],
) -> SearchRun:
    """Returns what the loop needs to run a search, except its programs.

    Args:
      config: of the search, or of a stage of it.
      net: its supernet.
      image_shape: of the data, (H, W, C).
      sizes: numbers of training and of validation images.
    """
    problem = search_problem(config, net, image_shape)
    hyperparams = search_hyperparams(config, problem.strategy)
    return SearchRun(
        problem=problem,
        programs=None,
        hyperparams=hyperparams,
        image_shape=image_shape,
        num_train=sizes[0],
        num_valid=sizes[1],
        steps_per_call=config.steps_per_call,
        keep_checkpoints=config.keep_checkpoints,
        identity=program_identity(config, hyperparams.strategy),
    )


def search_problem(
    config: SearchConfig, net: Supernet, image_shape: tuple[int, int, int]
) -> SearchProblem:
    """Returns what a configuration searches, in a supernet for images of a shape."""
    _, make = STRATEGIES[config.strategy_name]
    return SearchProblem(
        net=net,
        strategy=make(net, config.strategy),
        schedule=config.schedule,
        augmentation=config.data,
        sgd=config.sgd,
        valid_batch_size=config.strategy.valid_batch_size,
        validation_chunk=config.validation_chunk,
        watch=config.watch,
        one_vector=choice.is_tiny(image_shape[:2]),
    )


def search_hyperparams(config: SearchConfig, strategy: Strategy) -> SearchHyperparams:
    """Returns the numbers of a configuration that affect no shape, as host arrays."""
    return SearchHyperparams(
        seed=np.uint32(config.seed),
        learning_rate=np.float32(config.learning_rate),
        strategy=jax.tree.map(np.float32, strategy.hyperparams),
        epochs=np.int32(config.epochs),
    )


def _split(config: SearchConfig, dataset: Dataset) -> tuple:
    """Training and validation images, checked against the sizes of batches.

    Args:
      config: of the search, or of its first stage.
      dataset: to be split.
    """
    splits = make_splits(dataset, config.schedule.split, config.seed)
    sizes = config.batch_size, config.strategy.valid_batch_size
    check_batch_sizes(sizes, splits.train, splits.valid)
    if config.watch.eigenvalue != "off":
        count = len(splits.valid.labels)
        check_batch_size(config.watch.images, count, "watch.images")
    return splits.train, splits.valid


def as_loaded(
    config: SearchConfig,
    dataset: Dataset,
    data_dir: str | pathlib.Path | None,
    devices: int,
    *,
    folder: pathlib.Path | None,
    log: Callable[[str], None],
) -> SearchConfig:
    """Returns the configuration with what is known once data and devices are.

    Args:
      config: of the search.
      dataset: its data.
      data_dir: where they were looked for, or None for the usual places.
      devices: number of devices that share the search.
      folder, log: see `set_up_search`.

    Raises:
      ValueError: the data do not fit the configuration, or a package is missing that
        it asks for.
    """
    check_trackers(config)
    check_images(config, dataset.images.shape[1:])
    data = data_as_loaded(config.data, dataset.name, digest_of(dataset), data_dir)
    check_schedule(config)
    check_derivation(SPACES[config.supernet.space])
    supernet = dataclasses.replace(config.supernet, num_classes=dataset.num_classes)
    config = dataclasses.replace(config, supernet=supernet, data=data, devices=devices)
    limit = limit_of_run(config, dataset.images.shape[1:], folder, log)
    return with_limit_of(config, limit)
