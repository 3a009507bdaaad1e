"""Loads a search from its run directory."""

import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from egnas_jax.data.split import make_splits, seeded_order
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.runs.data import (
    ArrayData,
    data_as_loaded,
    dataset_from_arrays,
    digest_of,
    load_run_data,
    with_moved_data,
)
from egnas_jax.runs.directory import stored_config
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.search_result import SearchResult, search_result
from egnas_jax.runs.search_setup import search_hyperparams, search_problem
from egnas_jax.runs.stages import config_of_stage
from egnas_jax.search import stored_state
from egnas_jax.search.loop import SearchEnd
from egnas_jax.search.state import SearchHyperparams, SearchProblem, SearchState
from egnas_jax.search.valid_batches import valid_images
from egnas_jax.storage import checkpoint, records
from egnas_jax.strategies import STRATEGIES
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.random_streams import stream
from egnas_jax.types import Array


@pinned()
def load_search(
    folder: str | pathlib.Path,
    *,
    data_dir: str | pathlib.Path | None = None,
    settings: Mapping[str, Any] | None = None,
    log: Callable[[str], None] | None = None,
) -> SearchResult:
    """Reads the newest whole checkpoint of a search; nothing is changed.

    Args:
      folder: run directory of a search, finished or not.
      data_dir: where its data are; None: the usual places. Only `valid_batches` reads
        data, and this function for a run of version 0.1.
      settings: {"data.path": FILE} where the run's own .npz was moved.
      log: called with notes; None: the logger "egnas_jax" gets them as warnings.

    Raises:
      ValueError: the folder holds no search, or no whole checkpoint.
    """
    folder = pathlib.Path(folder)
    log = log or logging.getLogger("egnas_jax").warning
    config = with_moved_data(stored_config(folder), settings or {})
    model = _stored_model(config, folder, data_dir)
    shape = tuple(model["image_shape"])

    def problem_of(meta: dict) -> tuple[SearchProblem, SearchHyperparams]:
        own = config_of_stage(config, meta.get("stage"))
        problem = search_problem(own, make_supernet(own.supernet), shape)
        return problem, search_hyperparams(own, problem.strategy)

    def target(meta: dict) -> SearchState:
        problem, hyperparams = problem_of(meta)
        stored = stored_state.as_stored(problem, meta)
        return stored_state.layout(stored, shape, hyperparams)

    try:
        restored = checkpoint.restore(folder / "checkpoints", target)
    except checkpoint.NoCheckpointError as error:
        raise ValueError(f"{folder} holds no whole checkpoint. {error}") from None
    for note in restored.notes:
        log(f"{note} The one before is used.")
    restored = stored_state.as_computed(problem_of(restored.meta)[0], restored)
    state = jax.tree.map(jnp.asarray, restored.tree)
    lines = records.read_epochs(folder)[: int(state.epoch)]
    end = SearchEnd(state, lines, restored.meta.get("stage"))
    result = search_result(config, end, model["num_valid"])
    return result._replace(folder=folder, data_dir=data_dir)


def _stored_model(config: SearchConfig, folder: pathlib.Path, data_dir) -> dict:
    """What model.json holds, which runs of version 0.1 lack."""
    path = folder / "model.json"
    if path.exists():
        return records.read_object(path, "Name a directory that a search wrote.")
    dataset = load_run_data(config.data, data_dir, config.seed)
    splits = make_splits(dataset, config.schedule.split, config.seed)
    return {
        "image_shape": dataset.images.shape[1:],
        "num_valid": len(splits.valid.labels),
    }


def check_trained(search: SearchResult) -> None:
    """Refuses a run whose weights nothing has trained.

    Args:
      search: the run.

    Raises:
      ValueError: its method has no weight steps, as one that ranks by a proxy.
    """
    config = search.config
    _, make = STRATEGIES[config.strategy_name]
    if not make(search.net, config.strategy).trains_weights:
        name = "The run" if search.folder is None else str(search.folder)
        fitness = getattr(config.strategy, "fitness", "its fitness")
        raise ValueError(
            f"{name} ranked cells by {fitness}, without a step of the weights, which "
            f"are as they were initialised and tell little of its cells. Name a run "
            f"that trained them."
        )


@pinned()
def valid_batches(
    search: SearchResult,
    batches: int,
    batch_size: int,
    seed: int,
    *,
    data: ArrayData | None = None,
) -> tuple[Array, Array]:
    """Draws disjoint batches of a run's validation images, as the search draws them.

    Args:
      search: the run.
      batches, batch_size: M and N; there are at least M N validation images.
      seed: of their order, and of crops and flips where the search has them.
      data: the arrays that the search was given; None: the data that it names.

    Returns:
      images f32[M, N, H, W, C] and labels i32[M, N].

    Raises:
      ValueError: the data are not found, or they are not those of the search.
    """
    config, schedule = search.config, search.config.schedule
    if data is None:
        dataset = load_run_data(config.data, search.data_dir, config.seed)
    else:
        dataset = dataset_from_arrays(data, config.data, config.seed)
        data_as_loaded(config.data, dataset.name, digest_of(dataset))
    valid = make_splits(dataset, schedule.split, config.seed).valid
    order = seeded_order(len(valid.labels), seed, "noise")
    chosen = order[: batches * batch_size]
    images, scale = jnp.asarray(valid.images[chosen]), (dataset.mean, dataset.std)
    key = stream(seed, "noise images")
    images = valid_images(schedule, config.data, scale, key, images)
    labels = jnp.asarray(valid.labels[chosen], jnp.int32)
    shape = batches, batch_size
    return images.reshape(*shape, *images.shape[1:]), labels.reshape(shape)
