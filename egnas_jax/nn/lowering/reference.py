"""Depthwise convolution and pooling by XLA's own operations, with autodiff's gradients.

The simple version of every fast kernel beside it: its oracle in the tests, and a choice
where the fast ones do not pay (`grouped`).

Dims: X states (1, or as many as edges), E edges, C channels, H, W height and width,
N images, T kernel side.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.nn.lowering.dense import convolution
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array


def depthwise(x: Array, kernel: Array, stride: int = 1, dilation: int = 1) -> Array:
    """Depthwise convolution of every edge, one group a channel of a state.

    Args:
      x: [X, C, H, W, N].
      kernel: [E, C, T, T], T odd.
      stride: of H and W.
      dilation: between the taps.

    Returns:
      [E, C, H', W', N], padded symmetrically by dilation * (T - 1) / 2.
    """
    states, channels, *pixels = x.shape
    edges, _, *window = kernel.shape
    # a group's outputs lie together: first the state, then the channel, then its edges
    rows = kernel.reshape(states, edges // states, channels, *window).swapaxes(1, 2)
    y = convolution(
        x.reshape(-1, *pixels),
        rows.reshape(-1, 1, *window),
        (stride, stride),
        (dilation * (window[0] - 1) // 2,) * 2,
        dilation,
        groups=states * channels,
    )
    y = y.reshape(states, channels, edges // states, *y.shape[1:]).swapaxes(1, 2)
    return y.reshape(edges, channels, *y.shape[3:])


def avg_pool(x: Array, stride: int = 1) -> Array:
    """3x3 average pooling of [..., H, W, N] over the pixels that exist."""
    total = _reduce_windows(wide(x), 0.0, lax.add, 3, stride, 1)
    plane = jnp.ones((1,) * (x.ndim - 3) + (*x.shape[-3:-1], 1), total.dtype)
    counts = _reduce_windows(plane, 0.0, lax.add, 3, stride, 1)
    return (total / counts).astype(x.dtype)


def max_pool(x: Array, stride: int = 1) -> Array:
    """3x3 maximum pooling of [..., H, W, N].

    Which of equal values gets the gradient is XLA's to choose, and on a GPU it may
    choose otherwise the next time.
    """
    return _reduce_windows(x, -jnp.inf, lax.max, 3, stride, 1)


def halve(x: Array) -> Array:
    """2x2 maximum pooling of [..., H, W, N] with stride 2."""
    return _reduce_windows(x, -jnp.inf, lax.max, 2, 2, 0)


def _reduce_windows(x, start, operation, side, stride, padding):
    before = (1,) * (x.ndim - 3)
    return lax.reduce_window(
        x,
        np.array(start, x.dtype),  # a constant, which autodiff recognises
        operation,
        (*before, side, side, 1),
        (*before, stride, stride, 1),
        [(0, 0)] * (x.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)],
    )
