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
    Row,
    Sides,
    Tile,
    Window,
    load_row,
)
from egnas_jax.types import Array

Sums = list[list[Array]]


class Source(NamedTuple):
    """An array that a kernel reads, as one edge sees it.

    Attributes:
      ref: [E or 1, C, H * W * N].
      edge: of the program; 0 where all edges read the same array.
      sides: H, W, N.
      rectify: whether a ReLU comes first.
    """

    ref: jax.Ref
    edge: Array | int
    sides: Sides
    rectify: bool

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
            loaded = load_row(source.channel(channel), tile, source.sides, window, row)
            for column, taps in enumerate(_taps(loaded, tile, window, source.rectify)):
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
    added = []
    for index, part in enumerate(sums):
        channel = source.channel(index)
        terms = []
        if factors.maximum is not None or factors.average is not None:
            terms += _pooled(channel, tile, source.sides, factors, stride)
        if factors.skip is not None:
            state = load_row(channel, tile, source.sides, Window(1), 0).pixels
            terms.append([factors.skip * state[b] for b in range(tile.strip)])
        added.append(
            [sum(values, start) for start, *values in zip(part, *terms, strict=True)]
        )
    return added


def _pooled(channel, tile, sides, factors, stride):
    """The weighted 3x3 poolings of one channel, lists of B arrays."""
    window, strip = Window.centred(3, stride), range(tile.strip)

    def add_row(row, state):
        loaded = load_row(channel, tile, sides, window, row)
        low = {
            step: jnp.where(loaded.inside[step], pixel, -jnp.inf)
            for step, pixel in loaded.pixels.items()
        }
        steps = [[b * stride + i for i in range(3)] for b in strip]
        return [
            (
                functools.reduce(jnp.maximum, [low[step] for step in taps], best),
                sum([loaded.pixels[step] for step in taps], total),
                sum([loaded.inside[step].astype(total.dtype) for step in taps], count),
            )
            for taps, (best, total, count) in zip(steps, state, strict=True)
        ]

    zero = jnp.zeros(tile.row.shape, jnp.float32)
    start = [(zero - jnp.inf, zero, zero) for _ in strip]
    pooled, terms = lax.fori_loop(0, 3, add_row, start), []
    if factors.maximum is not None:
        terms.append([factors.maximum * best for best, _, _ in pooled])
    if factors.average is not None:
        terms.append([factors.average * (total / count) for _, total, count in pooled])
    return terms


def _taps(row: Row, tile: Tile, window: Window, rectify: bool) -> list[list[Array]]:
    """The pixels under each column of the window, lists of B arrays."""
    pixels = row.pixels
    if rectify:
        pixels = {step: jnp.maximum(value, 0.0) for step, value in pixels.items()}
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
      number: f32[].
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
