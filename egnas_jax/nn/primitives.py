"""Defines the candidate operations, each for all edges that leave one state.

Every primitive is a record `Primitive(init, apply)`. `apply` takes a `Source`, which
holds a state before and after the ReLU that most primitives start with. It returns an
`Affine` of shape [E, C, H', W', N], or [1, C, H', W', N] where the result does not
depend on the edge.

Source: operations.py of the DARTS family (convolutions without bias); `nor_conv` of
NAS-Bench-201.

Dims: E edges, C channels, H, W sides, N images.
"""

from functools import partial
from typing import NamedTuple, Protocol

import jax.numpy as jnp

from egnas_jax.nn import lowering
from egnas_jax.nn.init import kernel
from egnas_jax.nn.joint_blocks import Blocks
from egnas_jax.nn.layers import (
    Affine,
    conv_norm,
    factorized_reduce,
    fold_norm,
    init_batch_norm,
    init_conv_norm,
    lazy_batch_norm,
    rectify,
    relu,
)
from egnas_jax.types import Array, PyTree

WIDEST = 4  # pixels from the centre of the widest window, dil_conv_5x5, to its edge


class Source(NamedTuple):
    """A state as its out-edges read it, each array [1, C, H, W, N].

    Attributes:
      raw: the state.
      rectified: the state after the ReLU.
      padded: the rectified state with zeros around it, enough for the widest kernel.
    """

    raw: Array
    rectified: Array
    padded: Array


class PrimitiveInit(Protocol):
    def __call__(
        self, edges: int, channels: int, stride: int, affine: bool
    ) -> tuple[PyTree, PyTree]:
        """Describes parameters and batch_stats, as trees of `nn.init.Leaf`.

        Args:
          edges: E.
          channels: C, before and after the primitive.
          stride: 1, or 2 where a reduction cell reads its inputs.
          affine: whether norms have a scale and a shift.
        """


class PrimitiveApply(Protocol):
    def __call__(
        self,
        params: PyTree,
        stats: PyTree,
        source: Source,
        *,
        stride: int,
        train: bool,
        kernels: lowering.Kernels,
    ) -> tuple[Affine, PyTree]:
        """Applies the primitive to a state, for all edges that leave it.

        Args:
          params, stats: arrays that `PrimitiveInit` describes.
          source: the state.
          stride: as of `PrimitiveInit`.
          train: whether norms use the batch's statistics and update the running ones.
          kernels: implementations; they change the speed, not the result.

        Returns:
          The output, [E or 1, C, H', W', N], and the new batch_stats.
        """


class Primitive(NamedTuple):
    """One candidate operation.

    Attributes:
      init: describes its arrays.
      apply: computes its output.
      blocks: what it looks like if it is a chain of separable convolutions, which a
        cell of tiny images computes together; None for another primitive.
      fused: as what the fused kernels compute it: "blocks", "convolution" (a full one
        and a norm), "skip", "maximum" or "average" (3x3 poolings); None if they do not.
    """

    init: PrimitiveInit
    apply: PrimitiveApply
    blocks: Blocks | None = None
    fused: str | None = None


def source_of(state: Array) -> Source:
    """Prepares a state [1, C, H, W, N] for its out-edges."""
    rectified = relu(state)
    return Source(state, rectified, lowering.pad_sides(rectified, WIDEST))


def _init_nothing(edges, channels, stride, affine):
    del edges, channels, stride, affine
    return {}, {}


def _init_block(edges, channels, side, affine):
    """Leaves of a depthwise convolution, a pointwise one and a norm."""
    norm, stats = init_batch_norm(edges, channels, affine)
    params = {
        "depthwise": kernel((edges, channels, side, side), side * side),
        "pointwise": kernel((edges, channels, channels), channels),
        "norm": norm,
    }
    return params, {"norm": stats}


def _block(params, stats, x, padded=None, *, stride=1, dilation=1, train, kernels):
    """Depthwise convolution, pointwise convolution, norm; the caller rectifies."""
    way, window = (
        kernels.convolution(dilation),
        {"stride": stride, "dilation": dilation},
    )
    if way == "dense":
        return _dense_block(params, stats, x, train, **window)
    y = lowering.depthwise(
        x, params["depthwise"], padded=padded, implementation=way, **window
    )
    return conv_norm(params, stats, y, train)


def _dense_block(params, stats, x, train, **window):
    """The block as one convolution; in evaluation its kernel contains the norm too."""

    def convolve(pointwise):
        depthwise = params["depthwise"]
        return lowering.folded_convolution(x, depthwise, pointwise, **window)

    if train:
        y = convolve(params["pointwise"])
        return _normalise(params, stats, y, train)
    weight, shift = fold_norm(params, stats)
    return Affine(convolve(weight), None, shift), stats


def _normalise(params, stats, y, train):
    """The norm at the end of a primitive, {"norm": ...} of both trees."""
    y, norm = lazy_batch_norm(params["norm"], stats["norm"], y, train)
    return y, {"norm": norm}


def _dil_conv(side: int) -> Primitive:
    def init(edges, channels, stride, affine):
        del stride
        return _init_block(edges, channels, side, affine)

    def apply(params, stats, source, *, stride, train, kernels):
        options = {"stride": stride, "train": train, "kernels": kernels}
        _, x, padded = source
        return _block(params, stats, x, padded, dilation=2, **options)

    return Primitive(init, apply, Blocks(side, 2, ()), fused="blocks")


def _sep_conv(side: int) -> Primitive:
    def init(edges, channels, stride, affine):
        del stride
        params, stats = _init_block(edges, channels, side, affine)
        return {"first": params, "second": params}, {"first": stats, "second": stats}

    def apply(params, stats, source, *, stride, train, kernels):
        first, second = (
            partial(_block, params[name], stats[name], train=train, kernels=kernels)
            for name in ("first", "second")
        )
        y, first_stats = first(source.rectified, source.padded, stride=stride)
        # Padding follows; both become one kernel if the ReLU is not stored.
        y = rectify(y.value())
        y, second_stats = second(y)
        return y, {"first": first_stats, "second": second_stats}

    blocks = Blocks(side, 1, ("first", "second"))
    return Primitive(init, apply, blocks, fused="blocks")


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


def _conv_7x1_1x7(params, stats, source, *, stride, train, kernels):
    """A full 1x7 and a full 7x1 convolution, edge by edge."""
    del kernels

    def convolve_edge(row, column):
        y = lowering.convolve(source.rectified[0], row, (1, stride), (0, 3))
        return lowering.convolve(y, column, (stride, 1), (3, 0))

    pairs = zip(params["row"], params["column"], strict=True)
    y = jnp.stack([convolve_edge(row, column) for row, column in pairs])
    return _normalise(params, stats, y, train)


def _nor_conv(side: int) -> Primitive:
    """ReLU, full convolution and norm, as in NAS-Bench-201."""

    def init(edges, channels, stride, affine):
        del stride
        norm, stats = init_batch_norm(edges, channels, affine)
        shape = (edges, channels, channels, side, side)
        params = {"conv": kernel(shape, side * side * channels), "norm": norm}
        return params, {"norm": stats}

    def apply(params, stats, source, *, stride, train, kernels):
        del kernels
        edges, fan_out, fan_in, *window = params["conv"].shape
        # All edges read one state, so one convolution computes all their outputs.
        weight = params["conv"].reshape(edges * fan_out, fan_in, *window)
        padding = (side // 2, side // 2)
        y = lowering.convolve(source.rectified[0], weight, (stride, stride), padding)
        y = y.reshape(edges, fan_out, *y.shape[1:])
        return _normalise(params, stats, y, train)

    return Primitive(init, apply, fused="convolution")


def _pool(params, stats, source, *, stride, train, kernels, window):
    """Pooling, followed by a norm where there are batch_stats for it (`pool_bn`)."""
    y = window(source.raw, stride, kernels.pooling)
    if not stats:
        return Affine(y), stats
    return _normalise(params, stats, y, train)


def _pooling(window, kind) -> Primitive:
    apply = partial(_pool, window=window)
    return Primitive(_init_nothing, apply, fused=kind)


def _init_skip(edges, channels, stride, affine):
    if stride == 1:
        return {}, {}
    return init_conv_norm(edges, channels, channels, affine)


def _skip(params, stats, source, *, stride, train, kernels):
    del kernels
    if stride == 1:
        return Affine(source.raw), stats
    y, new_stats = factorized_reduce(params, stats, source.rectified, train)
    return Affine(y), new_stats


def _none(params, stats, source, *, stride, train, kernels):
    del params, train, kernels
    return Affine(jnp.zeros_like(source.raw[..., ::stride, ::stride, :])), stats


PRIMITIVES: dict[str, Primitive] = {
    "none": Primitive(_init_nothing, _none),
    "avg_pool_3x3": _pooling(lowering.avg_pool, "average"),
    "max_pool_3x3": _pooling(lowering.max_pool, "maximum"),
    "skip_connect": Primitive(_init_skip, _skip, fused="skip"),
    "sep_conv_3x3": _sep_conv(3),
    "sep_conv_5x5": _sep_conv(5),
    "sep_conv_7x7": _sep_conv(7),
    "dil_conv_3x3": _dil_conv(3),
    "dil_conv_5x5": _dil_conv(5),
    "conv_7x1_1x7": Primitive(_init_conv_7x1_1x7, _conv_7x1_1x7),
    "nor_conv_1x1": _nor_conv(1),
    "nor_conv_3x3": _nor_conv(3),
}


def with_pool_norm(name: str) -> Primitive:
    """The primitive of a supernet whose poolings are followed by a norm (`pool_bn`).

    All edges that leave a state pool the same pixels, so they share one norm.
    """
    primitive = PRIMITIVES[name]
    if "pool" not in name:
        return primitive

    def init(edges, channels, stride, affine):
        del edges, stride
        norm, stats = init_batch_norm(1, channels, affine)
        return {"norm": norm}, {"norm": stats}

    return primitive._replace(init=init, fused=None)


# before a script or a plug-in adds or replaces an entry
BUILT_IN = dict(PRIMITIVES)
