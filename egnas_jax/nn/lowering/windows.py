"""Slices padded images into the taps of a window, and spreads outputs out again.

Padding is symmetric, as in torch; XLA's SAME pads stride-2 windows asymmetrically.

Dims: C channels, H, W height and width, N images.
"""

import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.nn.lowering.rules import Rules, rules_for
from egnas_jax.types import Array


def output_side(side: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Pixels per side of the output of a symmetrically padded window."""
    reach = dilation * (kernel - 1)
    return (side + 2 * (reach // 2) - reach - 1) // stride + 1


def pad_sides(
    x: Array, width: int, value: float = 0.0, rules: Rules | None = None
) -> Array:
    """Pads H and W of [..., H, W, N] by `width` pixels on either side.

    Args:
      x: [..., H, W, N].
      width: pixels.
      value: value of the new pixels.
      rules: rules of a backend, or None for those of the default backend.
    """
    sides = [(0, 0, 0)] * (x.ndim - 3) + [(width, width, 0)] * 2 + [(0, 0, 0)]
    return _pad(x, value, sides, rules)


def tap(
    padded: Array, row: int, column: int, stride: int, shape: tuple[int, int]
) -> Array:
    """The pixels that all outputs read at one position of the window.

    Args:
      padded: [..., H, W, N].
      row, column: position within the window.
      stride: stride of the window.
      shape: H', W' of the outputs.

    Returns:
      [..., H', W', N].
    """
    height, width = shape
    *outer, _, _, images = padded.shape
    below, right = row + (height - 1) * stride + 1, column + (width - 1) * stride + 1
    # Indexing takes twice as long to trace, and a depthwise kernel has up to 49 taps.
    return lax.slice(
        padded,
        (*[0] * len(outer), row, column, 0),
        (*outer, below, right, images),
        (*[1] * len(outer), stride, stride, 1),
    )


def pixelwise(weight: Array) -> Array:
    """[..., C] as [..., C, 1, 1, 1], which broadcasts to [..., C, H, W, N]."""
    return weight[..., None, None, None]


def windows(
    padded: Array, side: int, stride: int, shape: tuple[int, int], dilation: int = 1
) -> list[Array]:
    """The taps of a window of side x side pixels, in reading order."""
    steps = range(0, dilation * side, dilation)
    return [tap(padded, i, j, stride, shape) for i in steps for j in steps]


def spread_out(
    x: Array,
    shape: tuple[int, int],
    reach: int,
    stride: int,
    *,
    fill: float = 0.0,
    rules: Rules | None = None,
) -> Array:
    """Places the outputs of a window at the pixels of its inputs, and pads them.

    A flipped window of stride 1 over the result reads, for each input pixel, the
    outputs that the pixel contributed to.

    Args:
      x: [..., H', W', N], one value per output pixel.
      shape: H, W of the inputs.
      reach: pixels from the first to the last tap.
      stride: stride of the window.
      fill: value of pixels that belong to no output.
      rules: rules of a backend, or None for those of the default backend.
    """
    low = reach - reach // 2
    sides = [(0, 0, 0)] * (x.ndim - 3)
    for size, outputs in zip(shape, x.shape[-3:-1], strict=True):
        used = (outputs - 1) * stride + 1
        sides.append((low, size + reach - low - used, stride - 1))
    return _pad(x, fill, [*sides, (0, 0, 0)], rules)


def _pad(x, value, sides, rules):
    padded = lax.pad(x, jnp.asarray(value, x.dtype), sides)
    return materialise(padded) if (rules or rules_for()).stored_padding else padded
