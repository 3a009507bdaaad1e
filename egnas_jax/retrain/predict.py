"""Logits of many images, the same to the last bit however many are taken at a time.

A product of matrices rounds differently in another batch shape, and two classes that
nearly tie may then change places. So there is one program of BLOCK images, and an image
goes through it at the place that its number in the data gives it.

Dims: N images, H, W sides, C channels, K classes.
"""

from collections.abc import Callable

import jax
import numpy as np

from egnas_jax.data.augment import normalise
from egnas_jax.nn import lowering
from egnas_jax.nn.derived import Network
from egnas_jax.types import PyTree

BLOCK = 64  # images; on 2 CPU cores as fast as 256


def make_logits(net: Network, scale: tuple[tuple, tuple]) -> Callable:
    """The compiled (variables, images u8[B, H, W, C]) -> f32[B, K].

    Args:
      net: the network; it runs with its running statistics.
      scale: mean and std of the channels.
    """

    def logits(variables, images):
        return net.apply(variables, normalise(images, *scale))[0]

    return jax.jit(logits, compiler_options=lowering.compiler_options())


def predict(
    logits: Callable, variables: PyTree, images: np.ndarray, batch_size: int
) -> np.ndarray:
    """Logits f32[N, K] of images u8[N, H, W, C].

    Args:
      logits: of `make_logits`.
      variables: of the network.
      images: on the host.
      batch_size: how many are given to the device before their logits are read, rounded
        up to whole blocks.
    """
    blocks = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
    spare = [(0, len(blocks) * BLOCK - len(images))] + [(0, 0)] * (images.ndim - 1)
    blocks[-1] = np.pad(blocks[-1], spare)
    at_once, found = -(-batch_size // BLOCK), []
    for start in range(0, len(blocks), at_once):
        given = [logits(variables, block) for block in blocks[start : start + at_once]]
        found += jax.device_get(given)
    return np.concatenate(found)[: len(images)]
