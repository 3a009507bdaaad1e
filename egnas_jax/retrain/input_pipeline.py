"""How the images of many training steps reach the device.

Dims: N images of the data set, B images of a batch, S steps of a call.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.data.batches import epoch_permutation, num_steps
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.retrain.prefetch import Prefetch
from egnas_jax.training.sgd import Pixels, stream


class Feed(NamedTuple):
    """Batches by the number of a step, counted over all epochs.

    Attributes:
      num_steps: of an epoch.
      chunk: (first step, number of steps, S) -> what a call of S steps is given; the
        places beyond the number are filled up.
      batch: (chunk, place in it) -> Pixels of one step; traced.
      close: () -> None; ends what runs beside the device.
    """

    num_steps: int
    chunk: Callable
    batch: Callable
    close: Callable


class Order(NamedTuple):
    """Which images make up which step.

    Attributes:
      num_steps: of an epoch.
      rows: step, counted over all epochs -> (epoch, i32[B]).
    """

    num_steps: int
    rows: Callable


def make_order(num_images: int, batch_size: int, seed: int) -> Order:
    """The order of a run; the short last batch of an epoch is left out.

    Args:
      num_images: N.
      batch_size: B.
      seed: of the run.
    """
    steps = num_steps(num_images, batch_size, keep_last=False)

    @functools.lru_cache(2)
    def order(epoch):
        return np.asarray(epoch_permutation(stream(seed, "order"), num_images, epoch))

    def rows(step):
        epoch, place = divmod(step, steps)
        return epoch, order(epoch)[place * batch_size :][:batch_size]

    return Order(steps, rows)


def resident_feed(part: LabelledImages, batch_size: int, seed: int) -> Feed:
    """All images lie on the device; a call is given the numbers of those it uses.

    Args:
      part: training images.
      batch_size: B.
      seed: of the run; orders epochs.
    """
    pixels = Pixels(*map(jax.device_put, part))
    order = make_order(len(part.labels), batch_size, seed)

    def chunk(first, count, size):
        chosen = np.zeros((size, batch_size), np.int32)
        chosen[:count] = [order.rows(first + i)[1] for i in range(count)]
        return pixels, chosen

    def batch(chunk, place):
        pixels, chosen = chunk
        return Pixels(pixels.images[chosen[place]], pixels.labels[chosen[place]])

    return Feed(order.num_steps, chunk, batch, lambda: None)


def streamed_feed(read: Callable, order: Order, last: int) -> Feed:
    """A call is given the images themselves, read while the one before it runs.

    Args:
      read: (epoch, row) -> (u8[H, W, C], label); pure, and called from many threads.
      order: of the run.
      last: the step before which the run ends: nothing is read from there on.
    """
    ahead = Prefetch(order.rows, read)

    def chunk(first, count, size):
        found = [ahead.take(first + i) for i in range(count)]
        for step in range(first + count, min(first + count + size, last)):
            ahead.start(step)
        spare = [found[-1]] * (size - count)
        return Pixels(*map(np.stack, zip(*found, *spare, strict=True)))

    def batch(chunk, place):
        return jax.tree.map(lambda leaf: leaf[place], chunk)

    return Feed(order.num_steps, chunk, batch, ahead.close)
