"""Chooses the validation images of an update of the method, and normalises them."""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.data.augment import augment, normalise
from egnas_jax.data.batches import draw_batch, epoch_permutation
from egnas_jax.data.config import DataConfig
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.state import (
    SearchData,
    SearchHyperparams,
    SearchProblem,
    SearchState,
)
from egnas_jax.training.random_streams import stream
from egnas_jax.types import Array, Batch, Key


def draw_valid_batch(
    problem: SearchProblem, data: SearchData, key: Key, place: Array | None = None
) -> Batch:
    """Draws the validation images of one update, without replacement.

    Args:
      problem, data: of the search.
      key: of the order of the images, and of their augmentation.
      place: of one of several batches in that order, see `data.batches.draw_batch`.
        None: a single batch.
    """
    key_draw, key_augment = jax.random.split(key)
    count, size = len(data.valid.labels), problem.valid_batch_size
    chosen = draw_batch(key_draw, count, size, place)
    if place is not None:
        key_augment = jax.random.fold_in(key_augment, place)
    return _valid_batch(problem, data, key_augment, chosen)


def next_valid_batch(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
    key: Key,
) -> Batch:
    """Takes the validation images of one update from a permutation of all.

    No image comes twice in an epoch, before the full batches of the permutation are
    used up; then the next permutation follows.

    Args:
      problem, data, hyperparams: of the search.
      state: has the epoch and the step.
      key: of the augmentation.
    """
    count, size = len(data.valid.labels), problem.valid_batch_size
    rounds, position = jnp.divmod(state.step, count // size)
    key_order = jax.random.fold_in(stream(hyperparams.seed, "valid order"), rounds)
    order = epoch_permutation(key_order, count, state.epoch)
    chosen = lax.dynamic_slice(order, (position * size,), (size,))
    return _valid_batch(problem, data, key, chosen)


def _valid_batch(problem, data, key, chosen) -> Batch:
    schedule, augmentation = problem.schedule, problem.augmentation
    images = data.valid.images[chosen]
    images = valid_images(schedule, augmentation, data.scale, key, images)
    return Batch(images, data.valid.labels[chosen])


def valid_images(
    schedule: EpochSchedule,
    augmentation: DataConfig,
    scale: Array | tuple,
    key: Key,
    images: Array,
) -> Array:
    """Augments validation images where the schedule says so, or normalises them.

    Args:
      schedule: says whether they are augmented.
      augmentation: how training images are.
      scale: mean and standard deviation of the channels, C numbers each.
      key: of the augmentation.
      images: u8[N, H, W, C].
    """
    if schedule.augment_valid:
        return augment(key, images, augmentation, *scale)
    return normalise(images, *scale)
