"""Sums convolutions and poolings over a tile, inside of a fused kernel.

Sums of a tile are a list over output channels of lists over the pixels of a strip, all
float32. Loops over input channels and over the rows of a window stay loops; what
happens within a row is written out.

Dims: E edges, C input channels, O output channels, T window side, B pixels of a strip,
S strips of a tile.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.pallas import triton

from egnas_jax.nn.lowering.fused_backend import is_interpreted
from egnas_jax.nn.lowering.fused_tiles import (
    Channel,
    Sides,
    Tile,
    Window,
    load_row,
    steps,
)
from egnas_jax.types import Array

Sums = list[list[Array]]


class Source(NamedTuple):
    """An array that a kernel reads, as one edge sees it.

    Attributes:
      ref: [E or 1, C, H * W * N].
      edge: of the program; 0 where all edges read the same array.
      sides: H, W, N.
    """

    ref: jax.Ref
    edge: Array | int
    sides: Sides

    def channel(self, index: Array | int) -> Channel:
        """One of the C channels."""
        return Channel(self.ref, (self.edge, index))


class Weights(NamedTuple):
    """The weights of a convolution for all edges, float32.

    Attributes:
      window: of a depthwise convolution [E, C, T * T, 1], or of a full convolution
        [E, C, T * T, O].
      pointwise: of the 1x1 convolution behind a depthwise one, [E, C, O]; None for a
        full convolution.
    """

    window: Array
    pointwise: Array | None = None


class Convolution(NamedTuple):
    """One convolution of the program's edge.

    Attributes:
      source: what it reads.
      window: of the convolution.
      weights: refs.
      edge: of the program, i32[].
    """

    source: Source
    window: Window
    weights: Weights
    edge: Array


class Pools(NamedTuple):
    """Weights of the primitives without convolutions, f32[E], or None where absent.

    Attributes:
      maximum, average: of 3x3 poolings.
      skip: of the state itself, if the output has its size.
    """

    maximum: Array | None = None
    average: Array | None = None
    skip: Array | None = None


def zeros(tile: Tile, channels: int) -> Sums:
    """Sums that are 0."""
    zero = jnp.zeros(tile.row.shape, jnp.float32)
    return [[zero] * tile.strip for _ in range(channels)]


def add_convolution(sums: Sums, tile: Tile, convolution: Convolution) -> Sums:
    """Adds a convolution to the sums, O lists of B arrays."""
    source, window, weights, edge = convolution

    def add_channel(channel, sums):
        def add_row(row, part):
            channel_of_source = source.channel(channel)
            pixels, _ = load_row(channel_of_source, tile, source.sides, window, row)
            for column, taps in enumerate(_taps(pixels, tile, window)):
                index = edge, channel, row * window.side + column
                part = _multiply_add(part, weights.window, index, taps)
            return part

        if weights.pointwise is None:
            return lax.fori_loop(0, window.side, add_row, sums)
        (depthwise,) = lax.fori_loop(0, window.side, add_row, zeros(tile, 1))
        return _multiply_add(sums, weights.pointwise, (edge, channel), depthwise)

    return lax.fori_loop(0, source.ref.shape[1], add_channel, sums)


def add_pools(
    sums: Sums, tile: Tile, source: Source, factors: Pools, stride: int
) -> Sums:
    """Adds weighted poolings and the weighted state to the sums.

    Args:
      sums: O lists of B arrays, O = C.
      tile: the strips.
      source: the state, before its ReLU.
      factors: f32[] each.
      stride: of the poolings.
    """
    window = Window.centred(3, stride)
    if factors.average is not None:
        pixels = _pixels_inside(tile, source.sides, window)
        factors = factors._replace(
            average=[factors.average / count for count in pixels]
        )
    added = []
    for index, part in enumerate(sums):
        channel = source.channel(index)
        if factors.maximum is not None or factors.average is not None:
            part = _add_pooled(part, channel, tile, source.sides, (window, factors))
        if factors.skip is not None:
            state = load_row(channel, tile, source.sides, Window(1), 0).pixels
            values = [state[b] for b in range(tile.strip)]
            part = [
                _fma(factors.skip, *pair) for pair in zip(values, part, strict=True)
            ]
        added.append(part)
    return added


def _add_pooled(part, channel, tile, sides, pooling):
    """Adds the weighted poolings of one channel to B arrays."""
    window, factors = pooling
    columns = steps(tile.strip, window)
    zero = jnp.zeros(tile.row.shape, jnp.float32)

    def add_row(row, state):  # of every column, which the windows then share
        highest, totals = state
        pixels, inside = load_row(channel, tile, sides, window, row)
        real = {s: jnp.where(inside[s], pixels[s], -jnp.inf) for s in columns}
        highest = {s: jnp.maximum(highest[s], real[s]) for s in columns}
        return highest, {s: totals[s] + pixels[s] for s in columns}

    start = dict.fromkeys(columns, zero - jnp.inf), dict.fromkeys(columns, zero)
    pooled = lax.fori_loop(0, window.side, add_row, start)
    high, total = (
        [functools.reduce(operation, under) for under in _windows(values, tile, window)]
        for values, operation in zip(pooled, (jnp.maximum, jnp.add), strict=True)
    )
    if factors.maximum is not None:
        part = [_fma(factors.maximum, *pair) for pair in zip(high, part, strict=True)]
    if factors.average is not None:
        triples = zip(factors.average, total, part, strict=True)
        part = [_fma(*triple) for triple in triples]
    return part


def _windows(pixels, tile, window):
    """The pixels under each window of a strip, B lists of T arrays."""
    return list(zip(*_taps(pixels, tile, window), strict=True))


def _pixels_inside(tile: Tile, sides: Sides, window: Window) -> list[Array]:
    """How many pixels under each window lie in the image, B arrays."""

    def inside(first, size):
        low, high = jnp.maximum(first, 0), jnp.minimum(first + window.side, size)
        return (high - low).astype(jnp.float32)

    rows = inside(tile.row * window.stride - window.origin, sides.height)
    columns = [
        inside((tile.column + b) * window.stride - window.origin, sides.width)
        for b in range(tile.strip)
    ]
    return [rows * count for count in columns]


def _taps(pixels: dict[int, Array], tile: Tile, window: Window) -> list[list[Array]]:
    """The pixels under each column of the window, lists of B arrays."""
    return [
        [pixels[b * window.stride + i * window.dilation] for b in range(tile.strip)]
        for i in range(window.side)
    ]


def _multiply_add(sums, weights, index, values):
    """Adds to each sum its weight times the values; see `Weights` for the shapes."""
    numbers = [weights[(*index, o)] for o in range(len(sums))]
    return [
        [_fma(number, *pair) for pair in zip(values, part, strict=True)]
        for number, part in zip(numbers, sums, strict=True)
    ]


def _fma(number, values, total):
    """number * values + total in one instruction.

    XLA compiles the product and the sum of a Pallas kernel to two instructions, which
    takes the arithmetic twice as long.

    Args:
      number: f32[] or f32[S].
      values, total: f32[S].
    """
    if is_interpreted():
        return number * values + total
    (out,) = triton.elementwise_inline_asm(
        "fma.rn.f32 $0, $1, $2, $3;",
        args=(jnp.broadcast_to(number, values.shape), values, total),
        constraints="=f,f,f,f",
        pack=1,
        result_shape_dtypes=[jax.ShapeDtypeStruct(values.shape, jnp.float32)],
    )
    return out
