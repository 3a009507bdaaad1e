"""Brings the images of many training steps to the device.

Dims: N images of the data set, B images of a batch, S steps of a call.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.data.batches import epoch_permutation, num_steps
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.retrain.prefetch import Prefetch
from egnas_jax.training.member_axis import stack_trees
from egnas_jax.training.random_streams import stream
from egnas_jax.types import Array, PyTree


class Joined(NamedTuple):
    """How the loaded images of retrainings of one data set become one argument.

    Attributes:
      stack: what each has loaded -> what one program takes for all of them.
      axes: of that, see `training.member_axis`.
    """

    stack: Callable[[Sequence[PyTree]], PyTree]
    axes: PyTree


# The images lie on the device once, and each retraining has rows of its own.
ROWS = Joined(
    lambda all: (all[0][0], stack_trees([rows for _, rows in all])), (None, 0)
)
# Each retraining has images of its own.
IMAGES = Joined(stack_trees, 0)


class InputPipeline(NamedTuple):
    """The batches of a run, by the step counted over all epochs.

    Attributes:
      num_steps: steps of an epoch.
      load: (first step, number of steps, S) -> the images of one call, which has S
        places; those beyond the number of steps are padding.
      batch: (loaded images, place) -> the batch of one step; traceable.
      close: ends the threads that read ahead.
      joined: how the loaded images of several retrainings become one argument.
    """

    num_steps: int
    load: Callable[[int, int, int], PyTree]
    batch: Callable[[PyTree, Array], LabelledImages]
    close: Callable[[], None]
    joined: "Joined"


class Order(NamedTuple):
    """The images of each step.

    Attributes:
      num_steps: steps of an epoch.
      rows: step, counted over all epochs -> (epoch, i32[B]).
    """

    num_steps: int
    rows: Callable[[int], tuple[int, np.ndarray]]


def make_order(num_images: int, batch_size: int, seed: int) -> Order:
    """The order of a run; the short last batch of an epoch is left out.

    Args:
      num_images: N.
      batch_size: B.
      seed: of the run.
    """
    steps = num_steps(num_images, batch_size, keep_last=False)

    @functools.lru_cache(2)
    def permutation(epoch):
        return np.asarray(epoch_permutation(stream(seed, "order"), num_images, epoch))

    def rows(step):
        epoch, place = divmod(step, steps)
        return epoch, permutation(epoch)[place * batch_size :][:batch_size]

    return Order(steps, rows)


def resident_pipeline(
    train: LabelledImages, batch_size: int, seed: int
) -> InputPipeline:
    """All images lie on the device; each call receives the rows of its batches.

    Args:
      train: the training images; those that lie on a device stay where they are.
      batch_size: B.
      seed: of the run; it determines the order.
    """
    pixels = LabelledImages(jax.device_put(train.images), jax.device_put(train.labels))
    order = make_order(len(train.labels), batch_size, seed)

    def load(first, count, size):
        rows = np.zeros((size, batch_size), np.int32)
        rows[:count] = [order.rows(first + i)[1] for i in range(count)]
        return pixels, rows

    def batch(loaded, place):
        pixels, rows = loaded
        return LabelledImages(pixels.images[rows[place]], pixels.labels[rows[place]])

    return InputPipeline(order.num_steps, load, batch, lambda: None, ROWS)


def streamed_pipeline(
    read: Callable[[int, int], tuple[np.ndarray, int]], order: Order, last_step: int
) -> InputPipeline:
    """Each call receives its images, which are read while the call before it runs.

    Args:
      read: (epoch, row) -> (u8[H, W, C], label); pure, and called from many threads.
      order: of the run.
      last_step: the step before which the run ends; later steps are not read.
    """
    prefetch = Prefetch(order.rows, read)

    def load(first, count, size):
        batches = [prefetch.take(first + i) for i in range(count)]
        for step in range(first + count, min(first + count + size, last_step)):
            prefetch.start(step)
        padding = [batches[-1]] * (size - count)
        return LabelledImages(*map(np.stack, zip(*batches, *padding, strict=True)))

    def batch(loaded, place):
        return jax.tree.map(lambda leaf: leaf[place], loaded)

    return InputPipeline(order.num_steps, load, batch, prefetch.close, IMAGES)
