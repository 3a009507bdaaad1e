"""Computes depthwise convolution as a sum of shifted slices, gradients by hand.

Dims: E edges, C channels, H, W height and width, N images, T kernel side.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.nn.lowering.barriers import keep_apart, materialise
from egnas_jax.nn.lowering.rules import Rules, rules_for
from egnas_jax.nn.lowering.sums import sum_pixels
from egnas_jax.nn.lowering.windows import (
    output_side,
    pad_sides,
    spread_out,
    tap,
    windows,
)
from egnas_jax.nn.precision import sum_dtype, wide, wide_einsum
from egnas_jax.types import Array


@functools.partial(jax.jit, static_argnames=("stride", "dilation", "shape", "start"))
def _correlate(
    padded: Array,
    kernel: Array,
    *,
    stride: int = 1,
    dilation: int,
    shape: tuple[int, int],
    start: int = 0,
) -> Array:
    """Sum over the taps of a kernel times the shifted slices of a padded array.

    Args:
      padded: [..., C, H, W, N].
      kernel: [..., C, T, T].
      stride: stride of H and W.
      dilation: distance between the taps, pixels.
      shape: H', W' of the output.
      start: rows and columns of `padded` to skip.

    Returns:
      [..., C, H', W', N] in the dtype of sums.
    """
    side = kernel.shape[-1]
    # One tap of the kernel is then [..., C, 1, 1, 1], which broadcasts to the pixels.
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
    *,
    rules: Rules | None = None,
) -> Array:
    """Depthwise convolution of every edge; arguments: see `choice.depthwise`."""
    rules = rules or rules_for()
    if padded is None:
        padded = pad_sides(x, dilation * (kernel.shape[-1] - 1) // 2, rules=rules)
    return _depthwise(x, kernel, lax.stop_gradient(padded), (stride, dilation), rules)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _depthwise(x, kernel, padded, window, rules):
    del rules  # the gradient reads them
    stride, dilation = window
    side = kernel.shape[-1]
    shape = tuple(output_side(s, side, stride, dilation) for s in x.shape[-3:-1])
    spare = (padded.shape[-2] - x.shape[-2] - dilation * (side - 1)) // 2
    out = _correlate(
        padded, kernel, stride=stride, dilation=dilation, shape=shape, start=spare
    )
    return materialise(out.astype(x.dtype))


def _depthwise_forward(x, kernel, padded, window, rules):
    return _depthwise(x, kernel, padded, window, rules), (x, kernel)


def _depthwise_backward(window, rules, residuals, cotangent):
    x, kernel = residuals
    return (
        _input_gradient(x, kernel, window, rules, cotangent),
        _kernel_gradient(x, kernel, window, rules, cotangent),
        None,  # the gradient of `padded` is part of the gradient of x
    )


@functools.partial(jax.jit, static_argnums=(2, 3))
def _input_gradient(x, kernel, window, rules, cotangent):
    """Correlates the cotangent, spread out by the stride, with the flipped kernel.

    Where all edges read one state, their gradients are added edge by edge: a sum over a
    stacked axis of edges is ten times slower on a CPU.
    """
    stride, dilation = window
    side, shape = kernel.shape[-1], x.shape[-3:-1]
    spread = spread_out(cotangent, shape, dilation * (side - 1), stride, rules=rules)
    flipped = kernel[..., ::-1, ::-1]
    correlate = functools.partial(_correlate, dilation=dilation, shape=shape)
    if x.shape[0] == kernel.shape[0]:
        return materialise(correlate(spread, flipped).astype(x.dtype))
    if not rules.looped_gradients:
        total = functools.reduce(lax.add, correlate(spread, flipped))
        return materialise(total.astype(x.dtype))[None]

    def add_edge(total, edge):
        return total + correlate(*edge), None

    zeros = jnp.zeros(x.shape[1:], sum_dtype(x))
    total, _ = lax.scan(add_edge, zeros, (spread, flipped))
    return total[None].astype(x.dtype)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _kernel_gradient(x, kernel, window, rules, cotangent):
    """Sums the products of shifted inputs and cotangents over pixels and images."""
    side, dilation = kernel.shape[-1], window[1]
    if not rules.looped_gradients:
        # The primitives of an edge read one state. The sums of all their taps, 68 in
        # DARTS, would be one kernel, too long for a GPU's assembler (docs/gpu.md).
        x, cotangent = keep_apart(x, cotangent)
    padded = pad_sides(x, dilation * (side - 1) // 2, rules=rules)
    add_up = _sum_of_rows if rules.looped_gradients else _sums_of_taps
    return add_up(padded, side, window, cotangent).astype(kernel.dtype)


def _sum_of_rows(padded, side, window, cotangent):
    """Kernel gradient [E, C, T, T] as matrix products of rows.

    The loop takes one output row at a time. The sum over the images is a matrix product
    of all input columns v of the T rows that the output row reads and its own columns
    w. The gradient of tap j is the sum of the entries with v = stride * w + dilation *
    j. This does more arithmetic than the definition and is several times faster on a
    CPU, because matrix products run at the peak of the machine and no row is copied.
    """
    stride, dilation = window
    edges, channels, height, width = cotangent.shape[:4]

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
    zeros = jnp.zeros(shape, sum_dtype(padded))
    products = lax.fori_loop(0, height, add_row, zeros)
    columns = np.arange(padded.shape[-2])[:, None, None]
    column_of_tap = stride * np.arange(width)[:, None] + dilation * np.arange(side)
    select = (columns == column_of_tap).astype(products.dtype)  # [V, W', T]
    return jnp.einsum("ecivw,vwj->ecij", products, select)


def _sums_of_taps(padded, side, window, cotangent):
    """Kernel gradient [E, C, T, T] as a sum for each tap.

    All sums read the same arrays, so a GPU computes them in one pass.
    """
    stride, dilation = window
    taps = windows(padded, side, stride, cotangent.shape[-3:-1], dilation)
    sums = sum_pixels(*(wide(cotangent) * wide(t) for t in taps))
    return jnp.stack(sums, axis=-1).reshape(*cotangent.shape[:2], side, side)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)
