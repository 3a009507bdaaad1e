"""The candidate operations of an edge, for all edges that leave one state at once.

Every primitive is `Primitive(init, apply)`; `apply` takes a `Source` (a state once
raw and once after the ReLU that most primitives start with) and gives [E, C, H', W',
N], or [1, C, H', W', N] where the result does not depend on the edge, as an `Affine`.

Source: operations.py of the DARTS family (convolutions without bias); `nor_conv` of
NAS-Bench-201.
"""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp

from egnas_jax.nn import lowering
from egnas_jax.nn.init import kernel
from egnas_jax.nn.layers import (
    Affine,
    conv_norm,
    factorized_reduce,
    folded_norm,
    init_batch_norm,
    init_conv_norm,
    norm_of,
    rectify,
    relu,
)
from egnas_jax.types import Array

WIDEST = 4  # pixels that a window reaches beyond its centre: dil_conv_5x5


class Source(NamedTuple):
    """A state as the edges that leave it read it, each [1, C, H, W, N].

    Attributes:
      raw: the state.
      rectified: after the ReLU.
      padded: rectified, with zeros around it for the widest kernel.
    """

    raw: Array
    rectified: Array
    padded: Array


class Primitive(NamedTuple):
    """One candidate operation.

    Attributes:
      init: (edges, channels, stride, affine) -> trees of `nn.init.Leaf`: parameters
        and batch norm statistics.
      apply: (params, stats, source, stride, train, kernels) -> output as an `Affine`,
        new statistics; the `lowering.Kernels` decide how, not what is computed.
    """

    init: Callable
    apply: Callable


def source_of(state: Array) -> Source:
    rectified = relu(state)
    return Source(state, rectified, lowering.pad_sides(rectified, WIDEST))


def _init_nothing(edges, channels, stride, affine):
    del edges, channels, stride, affine
    return {}, {}


def _init_block(edges, channels, side, affine):
    """Leaves of depthwise, pointwise, norm."""
    norm, stats = init_batch_norm(edges, channels, affine)
    params = {
        "depthwise": kernel((edges, channels, side, side), side * side),
        "pointwise": kernel((edges, channels, channels), channels),
        "norm": norm,
    }
    return params, {"norm": stats}


def _block(params, stats, x, padded, stride, dilation, train, kernels):
    """Depthwise, pointwise, norm; the ReLU before them is the caller's."""
    way = kernels.convolution(dilation)
    if way == "dense":
        return _dense_block(params, stats, x, stride, dilation, train)
    y = lowering.depthwise(x, params["depthwise"], stride, dilation, padded, way)
    return conv_norm(params, stats, y, train)


def _dense_block(params, stats, x, stride, dilation, train):
    """The same by one convolution, whose kernel running statistics fold into."""

    def convolve(pointwise):
        return lowering.folded(x, params["depthwise"], pointwise, stride, dilation)

    if train:
        y = convolve(params["pointwise"])
        y, norm = norm_of(params["norm"], stats["norm"], y, train)
        return y, {"norm": norm}
    weight, shift = folded_norm(params, stats)
    return Affine(convolve(weight), None, shift), stats


def _dil_conv(side: int) -> Primitive:
    def init(edges, channels, stride, affine):
        del stride
        return _init_block(edges, channels, side, affine)

    def apply(params, stats, source, stride, train, kernels):
        _, x, padded = source
        return _block(params, stats, x, padded, stride, 2, train, kernels)

    return Primitive(init, apply)


def _sep_conv(side: int) -> Primitive:
    def init(edges, channels, stride, affine):
        del stride
        blocks = [_init_block(edges, channels, side, affine) for _ in range(2)]
        params, stats = zip(*blocks, strict=True)
        names = ("first", "second")
        return dict(zip(names, params, strict=True)), dict(
            zip(names, stats, strict=True)
        )

    def apply(params, stats, source, stride, train, kernels):
        _, x, padded = source
        first, second = (
            partial(_block, params[name], stats[name], train=train, kernels=kernels)
            for name in ("first", "second")
        )
        y, first = first(x, padded, stride, 1)
        y = rectify(y.value())  # one kernel with the padding that follows
        y, second = second(y, None, 1, 1)
        return y, {"first": first, "second": second}

    return Primitive(init, apply)


def _init_conv_7x1_1x7(edges, channels, stride, affine):
    del stride
    norm, stats = init_batch_norm(edges, channels, affine)
    shape = (edges, channels, channels)
    params = {
        "row": kernel((*shape, 1, 7), 7 * channels),
        "column": kernel((*shape, 7, 1), 7 * channels),
        "norm": norm,
    }
    return params, {"norm": stats}


def _conv_7x1_1x7(params, stats, source, stride, train, kernels):
    """A 1x7 and a 7x1 convolution; full ones, so edge by edge."""
    del kernels

    def one(row, column):
        y = lowering.convolve(source.rectified[0], row, (1, stride), (0, 3))
        return lowering.convolve(y, column, (stride, 1), (3, 0))

    pairs = zip(params["row"], params["column"], strict=True)
    y = jnp.stack([one(row, column) for row, column in pairs])
    y, norm = norm_of(params["norm"], stats["norm"], y, train)
    return y, {"norm": norm}


def _nor_conv(side: int) -> Primitive:
    """ReLU, a whole convolution, norm, as NAS-Bench-201 has it."""

    def init(edges, channels, stride, affine):
        del stride
        norm, stats = init_batch_norm(edges, channels, affine)
        shape = (edges, channels, channels, side, side)
        params = {"conv": kernel(shape, side * side * channels), "norm": norm}
        return params, {"norm": stats}

    def apply(params, stats, source, stride, train, kernels):
        del kernels
        edges, fan_out, fan_in, *window = params["conv"].shape
        # all edges read one state: one convolution has the outputs of all
        weight = params["conv"].reshape(edges * fan_out, fan_in, *window)
        padding = (side // 2, side // 2)
        y = lowering.convolve(source.rectified[0], weight, (stride, stride), padding)
        y = y.reshape(edges, fan_out, *y.shape[1:])
        y, norm = norm_of(params["norm"], stats["norm"], y, train)
        return y, {"norm": norm}

    return Primitive(init, apply)


def _pool(params, stats, source, stride, train, kernels, *, window):
    """Pooling; with a norm after it where its statistics are kept (`pool_bn`)."""
    y = window(source.raw, stride, kernels.pooling)
    if not stats:
        return Affine(y), stats
    y, norm = norm_of(params["norm"], stats["norm"], y, train)
    return y, {"norm": norm}


def _init_skip(edges, channels, stride, affine):
    if stride == 1:
        return {}, {}
    return init_conv_norm(edges, channels, channels, affine)


def _skip(params, stats, source, stride, train, kernels):
    del kernels
    if stride == 1:
        return Affine(source.raw), stats
    y, stats = factorized_reduce(params, stats, source.rectified, train)
    return Affine(y), stats


def _none(params, stats, source, stride, train, kernels):
    del params, train, kernels
    return Affine(jnp.zeros_like(source.raw[..., ::stride, ::stride, :])), stats


PRIMITIVES: dict[str, Primitive] = {
    "none": Primitive(_init_nothing, _none),
    "avg_pool_3x3": Primitive(_init_nothing, partial(_pool, window=lowering.avg_pool)),
    "max_pool_3x3": Primitive(_init_nothing, partial(_pool, window=lowering.max_pool)),
    "skip_connect": Primitive(_init_skip, _skip),
    "sep_conv_3x3": _sep_conv(3),
    "sep_conv_5x5": _sep_conv(5),
    "sep_conv_7x7": _sep_conv(7),
    "dil_conv_3x3": _dil_conv(3),
    "dil_conv_5x5": _dil_conv(5),
    "conv_7x1_1x7": Primitive(_init_conv_7x1_1x7, _conv_7x1_1x7),
    "nor_conv_1x1": _nor_conv(1),
    "nor_conv_3x3": _nor_conv(3),
}
OWN = MappingProxyType(dict(PRIMITIVES))  # before any script adds or replaces one


def with_pool_norm(name: str) -> Primitive:
    """A primitive of a supernet whose poolings are followed by a norm.

    All edges of a state pool the same numbers, so one norm serves them all.
    """
    primitive = PRIMITIVES[name]
    if "pool" not in name:
        return primitive

    def init(edges, channels, stride, affine):
        del edges, stride
        norm, stats = init_batch_norm(1, channels, affine)
        return {"norm": norm}, {"norm": stats}

    return primitive._replace(init=init)
