"""Windows over padded images: their sides, their taps, their outputs spread out.

Padding is torch's: symmetric, never XLA's SAME (which pads stride-2 windows unevenly).

Dims: C channels, H, W height and width, N images.
"""

import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.types import Array


def output_side(side: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Pixels per side after a window with the symmetric padding used here."""
    reach = dilation * (kernel - 1)
    return (side + 2 * (reach // 2) - reach - 1) // stride + 1


def pad_sides(x: Array, width: int, value: float = 0.0) -> Array:
    """Pads H and W of [..., H, W, N] by `width` on either side."""
    sides = [(0, 0, 0)] * (x.ndim - 3) + [(width, width, 0)] * 2 + [(0, 0, 0)]
    return materialise(lax.pad(x, jnp.asarray(value, x.dtype), sides))


def tap(
    padded: Array, row: int, column: int, stride: int, shape: tuple[int, int]
) -> Array:
    """What every output pixel sees at one offset of the window: [..., H', W', N]."""
    height, width = shape
    *outer, _, _, images = padded.shape
    below, right = row + (height - 1) * stride + 1, column + (width - 1) * stride + 1
    # indexing would trace twice as long, and a depthwise kernel has up to 49 taps
    return lax.slice(
        padded,
        (*[0] * len(outer), row, column, 0),
        (*outer, below, right, images),
        (*[1] * len(outer), stride, stride, 1),
    )


def pixelwise(weight: Array) -> Array:
    """[..., C] as [..., C, 1, 1, 1], to meet [..., C, H, W, N]."""
    return weight[..., None, None, None]


def windows(
    padded: Array, side: int, stride: int, shape: tuple[int, int]
) -> list[Array]:
    """The taps of a window of side x side, in reading order."""
    return [tap(padded, i, j, stride, shape) for i in range(side) for j in range(side)]


def spread_out(
    x: Array, shape: tuple[int, int], reach: int, stride: int, fill: float = 0.0
) -> Array:
    """Outputs of a window, laid out over its inputs' pixels and padded.

    What an input pixel sees of it through a flipped window of stride 1 are the outputs
    that it took part in.

    Args:
      x: [..., H', W', N], one value an output pixel.
      shape: H, W of the inputs.
      reach: pixels between the first and the last tap.
      stride: of the window.
      fill: value where there is no output.
    """
    low = reach - reach // 2
    sides = [(0, 0, 0)] * (x.ndim - 3)
    for size, out in zip(shape, x.shape[-3:-1], strict=True):
        used = (out - 1) * stride + 1
        sides.append((low, size + reach - low - used, stride - 1))
    return materialise(lax.pad(x, jnp.asarray(fill, x.dtype), [*sides, (0, 0, 0)]))
