"""Pooling as a sum or a maximum of shifted slices.

Dims: E edges, C channels, H, W height and width, N images.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.nn.lowering.windows import output_side, pad_sides, spread_out, windows
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array


@functools.partial(jax.jit, static_argnums=1)
def avg_pool(x: Array, stride: int = 1) -> Array:
    """3x3 average pooling over the pixels that exist (padding is not counted)."""
    shape = tuple(output_side(side, 3, stride) for side in x.shape[-3:-1])
    padded = pad_sides(x, 1)
    total = functools.reduce(jnp.add, map(wide, windows(padded, 3, stride, shape)))
    counts = np.multiply.outer(*(_pixels_in_window(s, stride) for s in x.shape[-3:-1]))
    counts = counts.reshape((1,) * (x.ndim - 3) + (*shape, 1))
    return (total / counts.astype(total.dtype)).astype(x.dtype)


@functools.partial(jax.jit, static_argnums=1)
def max_pool(x: Array, stride: int = 1) -> Array:
    """3x3 maximum pooling; of equal values the first, in reading order, is taken.

    The gradient goes to that one pixel, as in torch: a tie has one winner on every
    backend, which select-and-scatter does not promise.
    """
    return _max_pool(x, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x, stride):
    return functools.reduce(jnp.maximum, _max_windows(x, stride))


def _max_windows(x, stride):
    shape = tuple(output_side(side, 3, stride) for side in x.shape[-3:-1])
    return windows(pad_sides(x, 1, -np.inf), 3, stride, shape)


def _max_pool_forward(x, stride):
    return _max_pool(x, stride), x


def _max_pool_backward(stride, x, cotangent):
    """Every pixel collects from the (up to nine) windows whose winner it is."""
    best, winner = -jnp.inf, -1.0
    for position, value in enumerate(_max_windows(x, stride)):
        wins = value > best
        here = jnp.asarray(position, x.dtype)
        best, winner = jnp.where(wins, value, best), jnp.where(wins, here, winner)
    spread = functools.partial(spread_out, shape=x.shape[-3:-1], reach=2, stride=stride)
    won = windows(spread(materialise(winner), fill=-1.0), 3, 1, x.shape[-3:-1])
    given = windows(spread(cotangent), 3, 1, x.shape[-3:-1])
    # a pixel is the first of the window that it is the last to see, and so on
    pairs = enumerate(zip(reversed(won), reversed(given), strict=True))
    parts = (wide(jnp.where(w == position, g, 0.0)) for position, (w, g) in pairs)
    return (materialise(functools.reduce(jnp.add, parts).astype(x.dtype)),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@jax.jit
def halve(x: Array) -> Array:
    """2x2 maximum pooling with stride 2, of the channels that bypass a strided edge."""
    shape = tuple(side // 2 for side in x.shape[-3:-1])
    taps = windows(x, 2, 2, shape)
    return functools.reduce(lambda best, new: jnp.where(new > best, new, best), taps)


def _pixels_in_window(side: int, stride: int) -> np.ndarray:
    """Along one axis, how many pixels of the image each window of 3 covers."""
    starts = np.arange(output_side(side, 3, stride)) * stride - 1
    return np.minimum(starts + 3, side) - np.maximum(starts, 0)
