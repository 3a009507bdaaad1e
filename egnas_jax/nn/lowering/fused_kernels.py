"""Computes many convolutions of one state in few GPU kernels, without gradients.

Three kernels share their loops (`fused_sums`): `convolve` stores the outputs of
convolutions after their norms and a ReLU, `moments` stores only the moments that their
norms need, and `mix` stores the weighted sum of convolutions, poolings and the state.
Depthwise convolutions, the 1x1 convolutions behind them and everything up to the sum
stay in registers.

They are written in Pallas and compiled by Triton, so they run on NVIDIA GPUs. In
interpret mode (`fused_backend`) they run anywhere, slowly.

Dims: E edges, C input channels, O output channels, H, W sides of a source, H', W'
sides of the output, N images.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from egnas_jax.nn.lowering.fused_backend import is_interpreted
from egnas_jax.nn.lowering.fused_sums import (
    Convolution,
    Pools,
    Source,
    Sums,
    Weights,
    add_convolution,
    add_pools,
    zeros,
)
from egnas_jax.nn.lowering.fused_tiles import (
    WARPS,
    Channel,
    Sides,
    Tile,
    TileShape,
    Window,
    is_real,
    store,
    tile_at,
    tile_shape,
)
from egnas_jax.types import Array, PyTree


class Term(NamedTuple):
    """One convolution of all edges.

    Attributes:
      source: position of the array that it reads.
      window: of the convolution.
      weights: of the convolution.
    """

    source: int
    window: Window
    weights: Weights


class _Plan(NamedTuple):
    """What a kernel knows when it is compiled."""

    sources: tuple[Sides, ...]
    output: Sides
    stride: int
    edges: int
    channels: int  # O
    tile: TileShape
    blocks: tuple[tuple[tuple[int, Window], ...], ...]  # sources and windows of terms


def convolve(
    sources: Sequence[Array],
    blocks: Sequence[Sequence[Term]],
    shifts: Sequence[Array],
    stride: int,
) -> list[Array]:
    """Computes the outputs of blocks, shifted and after a ReLU.

    Args:
      sources: arrays [E or 1, C, H, W, N].
      blocks: terms whose outputs add up.
      shifts: f32[E, O] of each block.
      stride: of the outputs among the pixels of the first source.

    Returns:
      [E, O, H', W', N] for each block, in the dtype of the sources.
    """
    plan = _plan(sources, blocks, stride)
    flat = plan.edges, plan.channels, plan.output.pixels
    out = [jax.ShapeDtypeStruct(flat, sources[0].dtype) for _ in blocks]
    arguments = _flat(sources), _weights(blocks), list(shifts)
    outputs = _call(_convolve, plan, out, arguments)
    return [_image(output, plan) for output in outputs]


def _convolve(plan, sources, weights, shifts, outputs):
    edge, tile = _place(plan)
    for number, (shift, output) in enumerate(zip(shifts, outputs, strict=True)):
        sums = zeros(tile, plan.channels)
        sums = _add_block(sums, plan, number, (edge, tile), (sources, weights))
        for channel, part in enumerate(sums):
            values = [jnp.maximum(value + shift[edge, channel], 0.0) for value in part]
            store(Channel(output, (edge, channel)), tile, values)


def moments(
    sources: Sequence[Array], blocks: Sequence[Sequence[Term]], stride: int
) -> list[tuple[Array, Array]]:
    """Computes mean and biased variance of the outputs of blocks, and no outputs.

    Each tile gives its mean and the sum of squares about it, and the tiles are combined
    as by Chan, Golub and LeVeque, so that no digits cancel.

    Args:
      sources, blocks, stride: see `convolve`.

    Returns:
      Two arrays f32[E, O] for each block.
    """
    plan = _plan(sources, blocks, stride)
    counts = pixels_of_tiles(plan.tile, plan.output)
    sizes = len(blocks), plan.edges, len(counts), plan.channels
    out = [jax.ShapeDtypeStruct(sizes, jnp.float32)] * 2
    arguments = _flat(sources), _weights(blocks), jnp.asarray(counts)
    means, squares = _call(_moments, plan, out, arguments)
    total = plan.output.pixels
    share = jnp.asarray(counts / total).reshape(1, 1, -1, 1)
    mean = jnp.sum(share * means, axis=2)
    between = jnp.sum(share * (means - mean[:, :, None]) ** 2, axis=2)
    var = jnp.sum(squares, axis=2) / total + between
    return list(zip(mean, var, strict=True))


def _moments(plan, sources, weights, counts, outputs):
    means, squares = outputs
    edge, tile = _place(plan)
    number_of_tile = pl.program_id(1)
    count = counts[number_of_tile]
    real = [is_real(tile, pixel) for pixel in range(tile.strip)]

    def total(values):
        kept = [jnp.where(r, v, 0.0) for r, v in zip(real, values, strict=True)]
        return jnp.sum(functools.reduce(jnp.add, kept))

    for number in range(len(plan.blocks)):
        sums = zeros(tile, plan.channels)
        sums = _add_block(sums, plan, number, (edge, tile), (sources, weights))
        for channel, part in enumerate(sums):
            mean = total(part) / count
            index = number, edge, number_of_tile, channel
            means[index] = mean
            squares[index] = total([(value - mean) ** 2 for value in part])


def mix(
    sources: Sequence[Array],
    terms: Sequence[Term],
    shift: Array,
    pooled: tuple[Array, Pools],
    stride: int,
) -> Array:
    """Computes the sum of all primitives of every edge.

    Args:
      sources: see `convolve`.
      terms: convolutions, whose weights contain norms and the weights of primitives.
      shift: f32[E, O].
      pooled: what the other primitives read, [C, H, W, N] as the first source, and
        their weights.
      stride: see `convolve`.

    Returns:
      [E, O, H', W', N] in the dtype of the sources.
    """
    plan = _plan(sources, [terms], stride, shift.shape)
    flat = plan.edges, plan.channels, plan.output.pixels
    out = [jax.ShapeDtypeStruct(flat, sources[0].dtype)]
    state, pools = pooled
    arguments = _flat(sources), _weights([terms]), (shift, *_flat([state[None]]), pools)
    (output,) = _call(_mix, plan, out, arguments)
    return _image(output, plan)


def _mix(plan, sources, weights, summands, outputs):
    shift, state, pools = summands
    edge, tile = _place(plan)
    sums = [
        [value + shift[edge, channel] for value in part]
        for channel, part in enumerate(zeros(tile, plan.channels))
    ]
    factors = jax.tree.map(lambda ref: ref[edge], pools)
    source = Source(state, 0, plan.sources[0])
    sums = add_pools(sums, tile, source, factors, plan.stride)
    sums = _add_block(sums, plan, 0, (edge, tile), (sources, weights))
    for channel, part in enumerate(sums):
        store(Channel(outputs[0], (edge, channel)), tile, part)


def _add_block(
    sums: Sums, plan: _Plan, number: int, place: tuple[Array, Tile], refs: PyTree
) -> Sums:
    """Adds the terms of a block for the program's edge and tile."""
    (edge, tile), (sources, weights) = place, refs
    for term, arrays in zip(plan.blocks[number], weights[number], strict=True):
        position, window = term
        ref = sources[position]
        source = Source(
            ref,
            edge=edge if ref.shape[0] > 1 else 0,
            sides=plan.sources[position],
        )
        sums = add_convolution(sums, tile, Convolution(source, window, arrays, edge))
    return sums


def _plan(sources, blocks, stride, sizes=None):
    """Plans a kernel; `sizes` are (E, O) where there may be no terms."""
    edges, channels = sizes or _sizes(blocks[0][0].weights)
    height, width, images = sources[0].shape[2:]
    return _Plan(
        sources=tuple(Sides(*source.shape[2:]) for source in sources),
        output=Sides(pl.cdiv(height, stride), pl.cdiv(width, stride), images),
        stride=stride,
        edges=edges,
        channels=channels,
        tile=tile_shape(channels),
        blocks=tuple(tuple((t.source, t.window) for t in terms) for terms in blocks),
    )


def _sizes(weights):
    last = weights.window if weights.pointwise is None else weights.pointwise
    return last.shape[0], last.shape[-1]


def _call(kernel: Callable, plan: _Plan, out: list, arguments: PyTree) -> list[Array]:
    """Runs a kernel for every edge and tile."""
    call = pl.pallas_call(
        lambda *refs: kernel(plan, *refs[: len(arguments)], refs[len(arguments) :]),
        out_shape=out,
        grid=(plan.edges, plan.tile.programs(plan.output)),
        interpret=is_interpreted(),
        # No stage of a pipeline: the L1 cache serves what neighbours read again.
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
        name=f"fused{kernel.__name__}",
    )
    return call(*arguments)


def _place(plan):
    """The program's edge and tile."""
    return pl.program_id(0), tile_at(pl.program_id(1), plan.tile, plan.output)


def _flat(sources):
    """Arrays [E, C, H, W, N] as [E, C, H * W * N]."""
    return [source.reshape(*source.shape[:2], -1) for source in sources]


def _image(output, plan):
    return output.reshape(*output.shape[:2], *plan.output)


def _weights(blocks):
    return [[term.weights for term in terms] for terms in blocks]


def pixels_of_tiles(shape: TileShape, sides: Sides) -> np.ndarray:
    """Number of pixels of each tile of an output, f32[programs]."""
    columns = np.arange(0, sides.width, shape.strip)
    pixels = np.minimum(shape.strip, sides.width - columns)
    pixels = np.tile(np.repeat(pixels, sides.images), sides.height)
    missing = shape.programs(sides) * shape.strips - len(pixels)
    tiles = np.pad(pixels, (0, missing)).reshape(-1, shape.strips)
    return np.float32(tiles.sum(axis=1))
