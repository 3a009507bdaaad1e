"""Computes pooling as a sum or a maximum of shifted slices.

Dims: H, W height and width, N images.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.nn.lowering.rules import Rules
from egnas_jax.nn.lowering.windows import output_side, pad_sides, spread_out, windows
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array


@functools.partial(jax.jit, static_argnums=(1, 2))
def avg_pool(x: Array, stride: int, rules: Rules) -> Array:
    """3x3 average pooling of [..., H, W, N]; padding pixels are not counted."""
    shape = tuple(output_side(side, 3, stride) for side in x.shape[-3:-1])
    padded = pad_sides(x, 1, rules=rules)
    total = functools.reduce(jnp.add, map(wide, windows(padded, 3, stride, shape)))
    counts = np.multiply.outer(*(_pixels_in_window(s, stride) for s in x.shape[-3:-1]))
    counts = counts.reshape((1,) * (x.ndim - 3) + (*shape, 1))
    return (total / counts.astype(total.dtype)).astype(x.dtype)


@functools.partial(jax.jit, static_argnums=(1, 2))
def max_pool(x: Array, stride: int, rules: Rules) -> Array:
    """3x3 maximum pooling of [..., H, W, N].

    The gradient of a window goes to its first maximum in reading order, as in torch, so
    a tie has the same winner on every backend. XLA's select-and-scatter does not
    guarantee that.
    """
    return _max_pool(x, stride, rules)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x, stride, rules):
    return functools.reduce(jnp.maximum, _max_windows(x, stride, rules))


def _max_windows(x, stride, rules):
    shape = tuple(output_side(side, 3, stride) for side in x.shape[-3:-1])
    return windows(pad_sides(x, 1, -np.inf, rules), 3, stride, shape)


def _max_pool_forward(x, stride, rules):
    return _max_pool(x, stride, rules), x


def _max_pool_backward(stride, rules, x, cotangent):
    """Sums for each pixel the cotangents of the windows, up to nine, that it won."""
    best, winner = -jnp.inf, -1.0
    for position, value in enumerate(_max_windows(x, stride, rules)):
        is_better = value > best
        position = jnp.asarray(position, x.dtype)
        best = jnp.where(is_better, value, best)
        winner = jnp.where(is_better, position, winner)
    spread = functools.partial(
        spread_out, shape=x.shape[-3:-1], reach=2, stride=stride, rules=rules
    )
    winners = windows(spread(materialise(winner), fill=-1.0), 3, 1, x.shape[-3:-1])
    cotangents = windows(spread(cotangent), 3, 1, x.shape[-3:-1])
    # A pixel is tap 0 of the last window that covers it, tap 1 of the one before, ...
    pairs = enumerate(zip(reversed(winners), reversed(cotangents), strict=True))
    parts = (wide(jnp.where(w == position, c, 0.0)) for position, (w, c) in pairs)
    return (materialise(functools.reduce(jnp.add, parts).astype(x.dtype)),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@jax.jit
def halve(x: Array) -> Array:
    """2x2 maximum pooling of [..., H, W, N] with stride 2."""
    shape = tuple(side // 2 for side in x.shape[-3:-1])
    taps = windows(x, 2, 2, shape)
    return functools.reduce(lambda best, new: jnp.where(new > best, new, best), taps)


def _pixels_in_window(side: int, stride: int) -> np.ndarray:
    """For each window of 3 along one axis, how many of its pixels are no padding."""
    starts = np.arange(output_side(side, 3, stride)) * stride - 1
    return np.minimum(starts + 3, side) - np.maximum(starts, 0)
