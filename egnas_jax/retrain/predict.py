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
from egnas_jax.nn.network import Network
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
    at_once, found = -(-batch_size // BLOCK) * BLOCK, []
    for start in range(0, len(images), at_once):
        part = images[start : start + at_once]  # it may be read from disk only here
        spare = [(0, -len(part) % BLOCK)] + [(0, 0)] * (part.ndim - 1)
        blocks = np.pad(part, spare).reshape(-1, BLOCK, *part.shape[1:])
        found += jax.device_get([logits(variables, block) for block in blocks])
    return np.concatenate(found)[: len(images)]
