"""Computes depthwise convolutions of tiny images as products with matrices of pixels.

On an image of P pixels a window is a linear map, a matrix [P', P]. The matrix is a sum
over the taps, and a tap is a constant matrix of zeros and ones. This multiplies more
than a sum of shifted slices, by P / (number of taps), but it is a matrix product, and
it takes few kernels however many windows there are. A kernel takes about 10 ms to
compile on a CPU, whatever it computes, so programs of 8 x 8 images compile faster
(benchmarks/README.md). The matrices grow with the square of the pixels; `choice` does
not allow them for larger images.

Dims: E edges, C channels, T kernel side, P = H * W pixels, P' pixels of an output, N
images.
"""

import functools

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.nn.lowering.windows import output_side
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array


def output_shape(
    shape: tuple[int, int], side: int, stride: int, dilation: int
) -> tuple[int, int]:
    """H' and W' of a symmetrically padded window over an image of H x W pixels."""
    return tuple(output_side(size, side, stride, dilation) for size in shape)


@functools.cache
def tap_matrices(
    shape: tuple[int, int], side: int, stride: int, dilation: int
) -> np.ndarray:
    """The matrices of the single taps of a symmetrically padded window.

    Args:
      shape: H, W of the image.
      side: T of the window.
      stride: stride of H and W.
      dilation: distance between the taps, pixels.

    Returns:
      f32[T * T, P', P] of zeros and ones: which pixel an output reads at which tap.
    """
    rows, columns = (_tap_rows(size, side, stride, dilation) for size in shape)
    matrices = np.einsum("ipq,jrs->ijprqs", rows, columns)
    outputs, pixels = rows.shape[1] * columns.shape[1], shape[0] * shape[1]
    return matrices.reshape(side * side, outputs, pixels)


def _tap_rows(size: int, side: int, stride: int, dilation: int) -> np.ndarray:
    """The matrices of the taps of a window over one axis, f32[T, size', size]."""
    outputs = output_side(size, side, stride, dilation)
    first = stride * np.arange(outputs) - dilation * (side - 1) // 2
    read = first + dilation * np.arange(side)[:, None]  # [T, size']
    return np.float32(read[..., None] == np.arange(size))


def depthwise(x: Array, kernel: Array, stride: int = 1, dilation: int = 1) -> Array:
    """Depthwise convolution of every edge; arguments: see `choice.depthwise`."""
    edges, channels, side, _ = kernel.shape
    shape = x.shape[-3:-1]
    taps = kernel.reshape(edges, channels, side * side)
    constant = jnp.asarray(tap_matrices(shape, side, stride, dilation), kernel.dtype)
    y = apply_windows(jnp.einsum("ect,tqp->ecqp", taps, constant), x)
    outputs = output_shape(shape, side, stride, dilation)
    return materialise(y.reshape(edges, channels, *outputs, x.shape[-1]))


def apply_windows(windows: Array, x: Array) -> Array:
    """Multiplies images with matrices of pixels.

    Args:
      windows: [E, C, P', P].
      x: [E, C, H, W, N], or [1, C, H, W, N] where all edges read the same state.

    Returns:
      [E, C, P', N] in the dtype of `x`.
    """
    columns = wide(x.reshape(*x.shape[:2], windows.shape[-1], x.shape[-1]))
    if len(x) == 1:
        y = jnp.einsum("ecqp,cpn->ecqn", windows, columns[0])
    else:
        y = jnp.einsum("ecqp,ecpn->ecqn", windows, columns)
    return y.astype(x.dtype)
