"""How the images of many training steps reach the device.

Dims: N images of the data set, B images of a batch, S steps of a call.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.data.batches import epoch_permutation, num_steps
from egnas_jax.data.split import Split
from egnas_jax.search.weights import Pixels, stream


class Feed(NamedTuple):
    """Batches by the number of a step, counted over all epochs.

    Attributes:
      num_steps: of an epoch.
      chunk: (first step, number of steps, S) -> what a call of S steps is given; the
        places beyond the number are filled up.
      batch: (chunk, place in it) -> Pixels of one step; traced.
    """

    num_steps: int
    chunk: Callable
    batch: Callable


def resident_feed(part: Split, batch_size: int, seed: int) -> Feed:
    """All images lie on the device; a call is given the numbers of those it uses.

    Args:
      part: training images.
      batch_size: B.
      seed: of the run; orders epochs.
    """
    pixels = Pixels(*map(jax.device_put, part))
    steps = num_steps(len(part.labels), batch_size, keep_last=False)

    @functools.lru_cache(2)
    def order(epoch):
        key = stream(seed, "order")
        return np.asarray(epoch_permutation(key, len(part.labels), epoch))

    def rows(step):
        epoch, place = divmod(step, steps)
        return order(epoch)[place * batch_size :][:batch_size]

    def chunk(first, count, size):
        chosen = np.zeros((size, batch_size), np.int32)
        chosen[:count] = [rows(first + i) for i in range(count)]
        return pixels, chosen

    def batch(chunk, place):
        pixels, chosen = chunk
        return Pixels(pixels.images[chosen[place]], pixels.labels[chosen[place]])

    return Feed(steps, chunk, batch)
