"""Depthwise convolution as a sum of shifted slices, with gradients written by hand.

Dims: E edges, C channels, H, W height and width, N images, T kernel side.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.nn.lowering.windows import (
    output_side,
    pad_sides,
    spread_out,
    tap,
)
from egnas_jax.nn.precision import sum_dtype, wide, wide_einsum
from egnas_jax.types import Array


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _correlate(
    padded: Array,
    kernel: Array,
    stride: int,
    dilation: int,
    shape: tuple[int, int],
    start: int = 0,
) -> Array:
    """Sum over taps of kernel [..., C, T, T] times the shifted slices of `padded`,
    whose first `start` rows and columns are passed over; not rounded yet."""
    side = kernel.shape[-1]
    # a tap of it is [..., C, 1, 1, 1], which meets the pixels as it is
    weights = kernel.reshape(*kernel.shape[:-2], side * side, 1, 1)
    terms = (
        wide(lax.slice_in_dim(weights, i * side + j, i * side + j + 1, axis=-3))
        * wide(tap(padded, start + i * dilation, start + j * dilation, stride, shape))
        for i in range(side)
        for j in range(side)
    )
    return functools.reduce(lax.add, terms)


def depthwise(
    x: Array,
    kernel: Array,
    stride: int = 1,
    dilation: int = 1,
    padded: Array | None = None,
) -> Array:
    """As `choice.depthwise`, by shifted slices of `padded`."""
    if padded is None:
        padded = pad_sides(x, dilation * (kernel.shape[-1] - 1) // 2)
    return _depthwise(x, kernel, lax.stop_gradient(padded), stride, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _depthwise(x, kernel, padded, stride, dilation):
    side = kernel.shape[-1]
    shape = tuple(output_side(s, side, stride, dilation) for s in x.shape[-3:-1])
    spare = (padded.shape[-2] - x.shape[-2] - dilation * (side - 1)) // 2
    out = _correlate(padded, kernel, stride, dilation, shape, spare)
    return materialise(out.astype(x.dtype))


def _depthwise_forward(x, kernel, padded, stride, dilation):
    return _depthwise(x, kernel, padded, stride, dilation), (x, kernel)


def _depthwise_backward(stride, dilation, residuals, cotangent):
    x, kernel = residuals
    return (
        _input_gradient(x, kernel, stride, dilation, cotangent),
        _kernel_gradient(x, kernel, stride, dilation, cotangent),
        None,  # all of the gradient goes to x
    )


@functools.partial(jax.jit, static_argnums=(2, 3))
def _input_gradient(x, kernel, stride, dilation, cotangent):
    """Correlation of the cotangent, spread out by the stride, with the flipped kernel.

    Where all edges read one state their gradients are added edge by edge: a sum over
    a stacked axis of edges costs an order more on a CPU.
    """
    side, shape = kernel.shape[-1], x.shape[-3:-1]
    spread = spread_out(cotangent, shape, dilation * (side - 1), stride)
    flipped = kernel[..., ::-1, ::-1]
    if x.shape[0] == kernel.shape[0]:
        out = _correlate(spread, flipped, 1, dilation, shape)
        return materialise(out.astype(x.dtype))

    def add_edge(total, edge):
        return total + _correlate(*edge, 1, dilation, shape), None

    nothing = jnp.zeros(x.shape[1:], sum_dtype(x))
    total, _ = lax.scan(add_edge, nothing, (spread, flipped))
    return total[None].astype(x.dtype)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _kernel_gradient(x, kernel, stride, dilation, cotangent):
    """Products of shifted inputs and cotangents, summed over pixels and images.

    One output row after another: the sum over images is a matrix product between all
    input columns v of the T rows that it reads and its own columns w. Tap j is the sum
    of the entries with v = stride * w + dilation * j. This does more arithmetic than
    the definition and is several times faster: matrix products reach the peak of the
    machine, and a row is read where it lies.
    """
    edges, channels, side = kernel.shape[:3]
    height, width = cotangent.shape[-3:-1]
    padded = pad_sides(x, dilation * (side - 1) // 2)

    def add_row(h, total):
        rows = [
            lax.dynamic_index_in_dim(padded, stride * h + dilation * i, 2, False)
            for i in range(side)
        ]
        rows = jnp.broadcast_to(
            jnp.stack(rows, axis=2), (edges, channels, side, *padded.shape[-2:])
        )
        row = lax.dynamic_index_in_dim(cotangent, h, 2, False)
        return total + wide_einsum("ecivn,ecwn->ecivw", rows, row)

    shape = edges, channels, side, padded.shape[-2], width
    nothing = jnp.zeros(shape, sum_dtype(x))
    products = lax.fori_loop(0, height, add_row, nothing)
    columns = np.arange(padded.shape[-2])[:, None, None]
    reads = stride * np.arange(width)[:, None] + dilation * np.arange(side)
    select = (columns == reads).astype(products.dtype)  # [V, W', T]
    return jnp.einsum("ecivw,vwj->ecij", products, select).astype(kernel.dtype)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)
