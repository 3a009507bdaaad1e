"""Computes depthwise convolution and pooling by XLA's own operations and autodiff.

This is the simple version of every fast kernel: the oracle of the tests, and the
implementation `grouped`.

Dims: S states (1, or as many as edges), E edges, C channels, H, W height and width,
N images, T kernel side.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.nn.lowering.dense import convolution
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array


def depthwise(x: Array, kernel: Array, stride: int = 1, dilation: int = 1) -> Array:
    """Depthwise convolution of every edge; each channel of a state is a group.

    Args:
      x: [S, C, H, W, N].
      kernel: [E, C, T, T], T odd.
      stride: stride of H and W.
      dilation: distance between the taps, pixels.

    Returns:
      [E, C, H', W', N], padded symmetrically by dilation * (T - 1) / 2.
    """
    states, channels, *pixels = x.shape
    edges, _, *window = kernel.shape
    # XLA wants the outputs of a group side by side: order by state, channel, edge.
    rows = kernel.reshape(states, edges // states, channels, *window).swapaxes(1, 2)
    y = convolution(
        x.reshape(-1, *pixels),
        rows.reshape(-1, 1, *window),
        (stride, stride),
        (dilation * (window[0] - 1) // 2,) * 2,
        dilation=dilation,
        groups=states * channels,
    )
    y = y.reshape(states, channels, edges // states, *y.shape[1:]).swapaxes(1, 2)
    return y.reshape(edges, channels, *y.shape[3:])


def avg_pool(x: Array, stride: int = 1) -> Array:
    """3x3 average pooling of [..., H, W, N]; padding pixels are not counted."""
    total = _reduce_windows(wide(x), 0.0, lax.add, stride=stride)
    plane = jnp.ones((1,) * (x.ndim - 3) + (*x.shape[-3:-1], 1), total.dtype)
    counts = _reduce_windows(plane, 0.0, lax.add, stride=stride)
    return (total / counts).astype(x.dtype)


def max_pool(x: Array, stride: int = 1) -> Array:
    """3x3 maximum pooling of [..., H, W, N].

    XLA decides which of several equal values gets the gradient, and on a GPU its
    decision may change from call to call.
    """
    return _reduce_windows(x, -jnp.inf, lax.max, stride=stride)


def halve(x: Array) -> Array:
    """2x2 maximum pooling of [..., H, W, N] with stride 2."""
    return _reduce_windows(x, -jnp.inf, lax.max, side=2, stride=2, padding=0)


def _reduce_windows(x, initial, operation, *, side=3, stride, padding=1):
    outer = (1,) * (x.ndim - 3)
    return lax.reduce_window(
        x,
        np.array(initial, x.dtype),  # autodiff recognises a constant
        operation,
        (*outer, side, side, 1),
        (*outer, stride, stride, 1),
        [(0, 0)] * (x.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)],
    )
