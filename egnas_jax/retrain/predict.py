"""Computes the logits of many images in blocks of one fixed size.

The result is bit for bit the same however many images there are: a matrix product
rounds differently in another batch shape, and two classes that nearly tie could then
change places. So there is one program for BLOCK images, and each image goes through it
at the place that its index determines.

Dims: N images, B images of a batch, H, W sides, C channels, K classes.
"""

from collections.abc import Callable

import chex
import jax
import numpy as np

from egnas_jax.data.augment import normalise
from egnas_jax.nn import lowering
from egnas_jax.nn.network import Network
from egnas_jax.types import Array, PyTree

BLOCK = 64  # images; on 2 CPU cores as fast as 256
BLOCKS_AHEAD = 4  # dispatched before their logits are read


def make_logits(
    net: Network, scale: tuple[tuple, tuple], image_shape: tuple[int, int, int]
) -> Callable[[PyTree, Array], Array]:
    """The compiled function (variables, images u8[B, H, W, C]) -> logits f32[B, K].

    Args:
      net: the network; it normalises by its running statistics.
      scale: mean and standard deviation of the channels.
      image_shape: (H, W, C) of the images.
    """

    def logits(variables, images):
        chex.assert_rank(images, 4)
        return net.apply(variables, normalise(images, *scale))[0]

    options = lowering.compiler_options(image_shape[:2])
    return jax.jit(logits, compiler_options=options)


def predict(
    logits: Callable[[PyTree, Array], Array], variables: PyTree, images: np.ndarray
) -> np.ndarray:
    """Logits f32[N, K] of images u8[N, H, W, C] on the host; of M networks [M, N, K].

    Args:
      logits: from `make_logits`, or the same of M networks, f32[M, B, K].
      variables: of the network, or of M networks.
      images: an array, or one that reads its images when it is sliced.
    """
    step, results = BLOCKS_AHEAD * BLOCK, []
    for start in range(0, len(images), step):
        part = images[start : start + step]
        padding = [(0, -len(part) % BLOCK)] + [(0, 0)] * (part.ndim - 1)
        blocks = np.pad(part, padding).reshape(-1, BLOCK, *part.shape[1:])
        results += jax.device_get([logits(variables, block) for block in blocks])
    return np.concatenate(results, axis=-2)[..., : len(images), :]
