"""Loads the pixels that one program of a fused kernel reads.

A program computes a tile: S threads' worth of strips, each of B neighbouring pixels of
one row of one image. All arrays of a program have the shape [S]; a list of them holds
the pixels of the strips. The images are innermost, so neighbouring threads read
neighbouring addresses. Pixels outside of an image and strips beyond the last one are
masked, so no size has to divide another.

Dims: B pixels of a strip, S strips of a tile, H', W' sides of the output, N images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from egnas_jax.types import Array

# A thread keeps this many sums in registers, of the 255 that it may have. The other
# registers hold the pixels of a row of a window and their addresses.
SUMS = 64
LONGEST_STRIP = 4
MOST_STRIPS = 4  # of a thread
WARPS = 4
THREADS = 32 * WARPS


class Sides(NamedTuple):
    """The pixels of an array [..., C, H, W, N]."""

    height: int
    width: int
    images: int

    @property
    def pixels(self) -> int:
        """The values of one channel."""
        return self.height * self.width * self.images


class TileShape(NamedTuple):
    """How the pixels of an output are divided among programs.

    Attributes:
      strip: B.
      strips: S, a power of two.
    """

    strip: int
    strips: int

    def programs(self, sides: Sides) -> int:
        """Number of tiles of an output."""
        strips = sides.height * pl.cdiv(sides.width, self.strip) * sides.images
        return pl.cdiv(strips, self.strips)


class Tile(NamedTuple):
    """The strips of one program.

    Attributes:
      sides: of the output.
      strip: B.
      row, column, image: i32[S], the first pixel of each strip; the row is outside of
        the image where the tile has more strips than the output.
    """

    sides: Sides
    strip: int
    row: Array
    column: Array
    image: Array


class Window(NamedTuple):
    """A square window of a convolution or a pooling.

    Attributes:
      side: pixels per side.
      stride: distance between the windows, pixels.
      dilation: distance between the taps, pixels.
      origin: pixels from the first tap to the pixel of the output.
    """

    side: int
    stride: int = 1
    dilation: int = 1
    origin: int = 0

    @classmethod
    def centred(cls, side: int, stride: int, dilation: int = 1) -> "Window":
        """The window of a symmetrically padded convolution."""
        return cls(side, stride, dilation, dilation * (side - 1) // 2)


class Channel(NamedTuple):
    """One channel of an array in memory, [H * W * N].

    Attributes:
      ref: the array, [..., H * W * N].
      index: of the channel, on all axes except the last.
    """

    ref: jax.Ref
    index: tuple[Array | int, ...]

    def at(self, place: Array) -> jax.Ref:
        """Values of the channel at positions i32[S]."""
        return self.ref.at[(*self.index, place)]


class Row(NamedTuple):
    """The pixels that the strips of a tile read from one row of an image.

    Attributes:
      pixels: [S] by their distance from the first one.
      inside: bool[S], which of them lie in the image.
    """

    pixels: dict[int, Array]
    inside: dict[int, Array]


def tile_shape(channels: int) -> TileShape:
    """Chooses the tile for C channels, so that a thread has `SUMS` sums at most.

    More than `SUMS` channels take more registers.
    """
    strip = max(1, min(LONGEST_STRIP, SUMS // channels))
    strips = max(1, min(MOST_STRIPS, SUMS // (channels * strip)))
    return TileShape(strip, THREADS * 2 ** (strips.bit_length() - 1))


def tile_at(index: Array, shape: TileShape, sides: Sides) -> Tile:
    """Returns a tile of an output.

    Args:
      index: of the tile, i32[].
      shape: of all tiles.
      sides: of the output.
    """
    strips = index * shape.strips + jnp.arange(shape.strips, dtype=jnp.int32)
    groups = jnp.int32(pl.cdiv(sides.width, shape.strip))
    place = lax.div(strips, jnp.int32(sides.images))
    return Tile(
        sides=sides,
        strip=shape.strip,
        row=lax.div(place, groups),
        column=lax.rem(place, groups) * shape.strip,
        image=lax.rem(strips, jnp.int32(sides.images)),
    )


def load_row(
    channel: Channel, tile: Tile, source: Sides, window: Window, row: Array | int
) -> Row:
    """Loads what the strips of a tile read from one row of their windows.

    Args:
      channel: of the array that is read.
      tile: the strips.
      source: sides of the array.
      window: the window.
      row: of the window, from 0.

    Returns:
      The pixels in float32, 0 where they lie outside of the image.
    """
    at_row = tile.row * window.stride + (row * window.dilation - window.origin)
    first = tile.column * window.stride - window.origin
    start = (at_row * source.width + first) * source.images + tile.image
    row_is_inside = _is_within(at_row, source.height)
    pixels, inside = {}, {}
    for step in steps(tile.strip, window):
        inside[step] = row_is_inside & _is_within(first + step, source.width)
        place = channel.at(start + step * source.images)
        loaded = triton.load(place, mask=inside[step], other=0.0)
        pixels[step] = loaded.astype(jnp.float32)
    return Row(pixels, inside)


def steps(strip: int, window: Window) -> list[int]:
    """Distances of the pixels that a strip reads in a row from the first one."""
    reads = {
        pixel * window.stride + tap * window.dilation
        for pixel in range(strip)
        for tap in range(window.side)
    }
    return sorted(reads)


def store(channel: Channel, tile: Tile, values: list[Array]) -> None:
    """Stores the pixels of a tile.

    Args:
      channel: of the output.
      tile: the strips.
      values: B arrays [S].
    """
    width, images = tile.sides.width, tile.sides.images
    start = (tile.row * width + tile.column) * images + tile.image
    for pixel, value in enumerate(values):
        place = channel.at(start + pixel * images)
        value = value.astype(channel.ref.dtype)
        triton.store(place, value, mask=is_real(tile, pixel))


def is_real(tile: Tile, pixel: int) -> Array:
    """Whether a pixel of the strips belongs to the output, bool[S]."""
    in_row = tile.column + pixel < tile.sides.width
    return in_row & (tile.row < tile.sides.height)


def _is_within(position: Array, size: int) -> Array:
    """0 <= position < size in one comparison: a negative number is a large unsigned."""
    return position.astype(jnp.uint32) < jnp.uint32(size)
