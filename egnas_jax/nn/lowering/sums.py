"""Sums arrays over pixels and images in as few kernels as a GPU can.

Dims: H, W height and width, N images.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.types import Array


@jax.custom_jvp
def sum_pixels(*terms: Array) -> tuple[Array, ...]:
    """Sums each of several arrays of one shape over its last three axes.

    All terms share one pass over the rows and one over the sums of the rows. A sum of
    its own for each term would take more kernels: XLA splits every long sum in two, and
    joins only the first halves.

    Args:
      terms: arrays [..., H, W, N].

    Returns:
      Their sums [...].
    """
    last = terms[0].ndim - 1
    return _add_up(_add_up(terms, (last - 1, last)), (last - 2,))


def _add_up(terms, axes):
    zeros = tuple(np.zeros((), term.dtype) for term in terms)
    return tuple(lax.reduce(terms, zeros, _add_pairs, axes))


def _add_pairs(a, b):
    return tuple(x + y for x, y in zip(a, b, strict=True))


@sum_pixels.defjvp
def _sum_pixels_jvp(terms, tangents):
    # A joint sum cannot be transposed, which a gradient of a gradient needs.
    sums = tuple(jnp.sum(tangent, axis=(-3, -2, -1)) for tangent in tangents)
    return sum_pixels(*terms), sums
