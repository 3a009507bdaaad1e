"""Defines the built-in primitives, and the table that own ones are added to.

The built-in primitives are written as kernels for all edges that leave one state
(`nn.primitive.EdgeKernel`). Their functions for one edge follow from them.

Source: operations.py of the DARTS family (convolutions without bias); `nor_conv` of
NAS-Bench-201; `noise` of RobustDARTS. The names of weights in torch are those of
operations.py, where positions inside an operation also count its ReLUs.

Dims: E edges, C channels, H, W sides, N images.
"""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp

from egnas_jax.lookup import lookup
from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.init import uniform
from egnas_jax.nn.joint_blocks import Blocks
from egnas_jax.nn.layers import (
    Affine,
    conv_norm,
    exposed_kernel,
    factorized_reduce,
    fold_norm,
    init_batch_norm,
    init_conv_norm,
    lazy_batch_norm,
    rectify,
)
from egnas_jax.nn.primitive import FIRST_HALF, SECOND_HALF, EdgeKernel, Primitive
from egnas_jax.nn.primitive_check import check_primitive
from egnas_jax.nn.primitive_edges import (
    functions_of_kernel,
    kernel_from_functions,
    with_norm,
)
from egnas_jax.nn.primitive_purity import check_purity
from egnas_jax.space.primitive_names import FAMILIES, register_name

# Torch's names inside an operation, and our paths; see `EdgeKernel.torch`.
TORCH_BLOCK = (
    ("op.1.weight", ("depthwise",)),
    ("op.2.weight", ("pointwise",)),
    ("op.3", ("norm",)),
)
TORCH_BLOCKS = (
    *((name, ("first", *path)) for name, path in TORCH_BLOCK),
    ("op.5.weight", ("second", "depthwise")),
    ("op.6.weight", ("second", "pointwise")),
    ("op.7", ("second", "norm")),
)
TORCH_ROW_COLUMN = (
    ("1.weight", ("row",)),
    ("2.weight", ("column",)),
    ("3", ("norm",)),
)
TORCH_CONVOLUTION = (("op.1.weight", ("conv",)), ("op.2", ("norm",)))
TORCH_POOL = (("1", ("norm",)),)
TORCH_REDUCE = (
    ("conv_1.weight", ("pointwise", FIRST_HALF)),
    ("conv_2.weight", ("pointwise", SECOND_HALF)),
    ("bn", ("norm",)),
)


def _init_nothing(edges, channels, stride, affine):
    del edges, channels, stride, affine
    return {}, {}


def _init_block(edges, channels, side, affine):
    """Leaves of a depthwise convolution, a pointwise one and a norm."""
    norm, stats = init_batch_norm(edges, channels, affine)
    params = {
        "depthwise": uniform((edges, channels, side, side), side * side),
        "pointwise": uniform((edges, channels, channels), channels),
        "norm": norm,
    }
    return params, {"norm": stats}


def _block(params, stats, x, padded=None, *, stride=1, dilation=1, train, kernels):
    """Depthwise convolution, pointwise convolution, norm; the caller rectifies."""
    way = kernels.convolution(dilation)
    window = {"stride": stride, "dilation": dilation}
    x = intermediates.expose(intermediates.RELU, x, edges=len(params["depthwise"]))
    weight = exposed_kernel(params["depthwise"], x, stride)
    params = params | {"depthwise": weight}
    if way == "dense":
        return _dense_block(params, stats, x, train, **window)
    y = lowering.depthwise(
        x, params["depthwise"], padded=padded, implementation=way, **window
    )
    return conv_norm(params, stats, y, train)


def _dense_block(params, stats, x, train, **window):
    """The block as one convolution; in evaluation its kernel contains the norm too."""

    pointwise = exposed_kernel(params["pointwise"], x, window["stride"])
    params = params | {"pointwise": pointwise}

    def convolve(pointwise):
        depthwise = params["depthwise"]
        return lowering.folded_convolution(x, depthwise, pointwise, **window)

    if train:
        y = intermediates.expose(intermediates.OUTPUT, convolve(params["pointwise"]))
        return _normalise(params, stats, y, train)
    weight, shift = fold_norm(params, stats)
    return Affine(convolve(weight), None, shift), stats


def _normalise(params, stats, y, train):
    """The norm at the end of a primitive, {"norm": ...} of both trees."""
    y, norm = lazy_batch_norm(params["norm"], stats["norm"], y, train)
    return y, {"norm": norm}


def _dil_conv(side: int) -> EdgeKernel:
    def init(edges, channels, stride, affine):
        del stride
        return _init_block(edges, channels, side, affine)

    def apply(params, stats, source, *, stride, train, kernels):
        options = {"stride": stride, "train": train, "kernels": kernels}
        _, x, padded = source
        return _block(params, stats, x, padded, dilation=2, **options)

    return EdgeKernel(
        init,
        apply,
        blocks=Blocks(side, 2, ()),
        fused="blocks",
        torch=TORCH_BLOCK,
        onnx="dil_conv",
    )


def _sep_conv(side: int) -> EdgeKernel:
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

    return EdgeKernel(
        init,
        apply,
        blocks=Blocks(side, 1, ("first", "second")),
        fused="blocks",
        torch=TORCH_BLOCKS,
        onnx="sep_conv",
    )


def _init_conv_7x1_1x7(edges, channels, stride, affine):
    del stride
    norm, stats = init_batch_norm(edges, channels, affine)
    shape = (edges, channels, channels)
    params = {
        "row": uniform((*shape, 1, 7), 7 * channels),
        "column": uniform((*shape, 7, 1), 7 * channels),
        "norm": norm,
    }
    return params, {"norm": stats}


def _conv_7x1_1x7(params, stats, source, *, stride, train, kernels):
    """A full 1x7 and a full 7x1 convolution, edge by edge."""
    del kernels

    weights = _exposed_pair(params, source.rectified, stride)
    rectified = intermediates.expose(
        intermediates.RELU, source.rectified, edges=len(params["row"])
    )

    def convolve_edge(row, column):
        y = lowering.convolve(rectified[0], row, (1, stride), (0, 3))
        return lowering.convolve(y, column, (stride, 1), (3, 0))

    pairs = zip(*weights, strict=True)
    y = jnp.stack([convolve_edge(row, column) for row, column in pairs])
    y = intermediates.expose(intermediates.OUTPUT, y)
    return _normalise(params, stats, y, train)


def _exposed_pair(params, x, stride):
    """The kernels of both convolutions, the first of which strides the rows alone."""
    height, width = x.shape[-3], -(-x.shape[-2] // stride)
    first = intermediates.expose(
        intermediates.KERNEL, params["row"], pixels=height * width
    )
    pixels = -(-height // stride) * width
    second = intermediates.expose(intermediates.KERNEL, params["column"], pixels=pixels)
    return first, second


def _nor_conv(side: int) -> EdgeKernel:
    """ReLU, full convolution and norm, as in NAS-Bench-201."""

    def init(edges, channels, stride, affine):
        del stride
        norm, stats = init_batch_norm(edges, channels, affine)
        shape = (edges, channels, channels, side, side)
        params = {"conv": uniform(shape, side * side * channels), "norm": norm}
        return params, {"norm": stats}

    def apply(params, stats, source, *, stride, train, kernels):
        del kernels
        edges, fan_out, fan_in, *window = params["conv"].shape
        # All edges read one state, so one convolution computes all their outputs.
        weight = exposed_kernel(params["conv"], source.raw, stride)
        weight = weight.reshape(edges * fan_out, fan_in, *window)
        rectified = intermediates.expose(
            intermediates.RELU, source.rectified, edges=edges
        )
        padding = (side // 2, side // 2)
        y = lowering.convolve(rectified[0], weight, (stride, stride), padding)
        y = intermediates.expose(
            intermediates.OUTPUT, y.reshape(edges, fan_out, *y.shape[1:])
        )
        return _normalise(params, stats, y, train)

    return EdgeKernel(
        init,
        apply,
        fused="convolution",
        torch=TORCH_CONVOLUTION,
        onnx="convolution",
    )


def _pooling(window, kind) -> EdgeKernel:
    def apply(params, stats, source, *, stride, train, kernels):
        del params, train
        return Affine(window(source.raw, stride, kernels.pooling)), stats

    return EdgeKernel(_init_nothing, apply, fused=kind, torch=TORCH_POOL, onnx=kind)


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


def _no_variables(key, channels, stride):
    del key, channels, stride
    return {}, {}


def _noise(params, batch_stats, x, stride, train, *, key):
    """Standard normal numbers in the place of the state, in evaluation too."""
    del params, train
    shape = x[:, ::stride, ::stride].shape
    return jax.random.normal(key, shape).astype(x.dtype), batch_stats


_KERNELS: dict[str, EdgeKernel] = {
    "none": EdgeKernel(_init_nothing, _none, torch=()),
    "avg_pool_3x3": _pooling(lowering.avg_pool, "average"),
    "max_pool_3x3": _pooling(lowering.max_pool, "maximum"),
    "skip_connect": EdgeKernel(
        _init_skip,
        _skip,
        identity=True,
        fused="skip",
        torch=TORCH_REDUCE,
        onnx="skip",
    ),
    "sep_conv_3x3": _sep_conv(3),
    "sep_conv_5x5": _sep_conv(5),
    "sep_conv_7x7": _sep_conv(7),
    "dil_conv_3x3": _dil_conv(3),
    "dil_conv_5x5": _dil_conv(5),
    "conv_7x1_1x7": EdgeKernel(
        _init_conv_7x1_1x7,
        _conv_7x1_1x7,
        torch=TORCH_ROW_COLUMN,
        onnx="row_column",
    ),
    "nor_conv_1x1": _nor_conv(1),
    "nor_conv_3x3": _nor_conv(3),
}


PRIMITIVES: dict[str, Primitive] = {
    name: Primitive(
        name, *functions_of_kernel(edge_kernel), FAMILIES[name], edge_kernel
    )
    for name, edge_kernel in _KERNELS.items()
}
PRIMITIVES["noise"] = Primitive(
    "noise", _no_variables, _noise, FAMILIES["noise"], draws=True
)


def register_primitive(primitive: Primitive) -> None:
    """Adds a primitive of one's own, so that spaces and genotypes may name it.

    Args:
      primitive: the record; nothing of it runs before a network is made with it.

    Raises:
      ValueError: it is no primitive, the name is no word or is taken, the family is
        unknown, or `init` or `apply` is no function.
    """
    if not isinstance(primitive, Primitive):
        raise ValueError(
            f"register_primitive takes a Primitive, got {str(primitive)[:80]!r}."
        )
    for field in ("init", "apply"):
        function = getattr(primitive, field)
        if not callable(function) or getattr(function, "__hash__", None) is None:
            raise ValueError(
                f"{field} of the primitive {primitive.name} is {function!r}. Give a "
                f"function."
            )
    register_name(primitive.name, primitive.family)
    PRIMITIVES[primitive.name] = primitive


def check_primitives(
    names: Iterable[str], channels: int, dtype: str = "float32"
) -> None:
    """Refuses primitives that a network cannot compute, before it is traced itself.

    Args:
      names: of the primitives.
      channels: C, in any cell of the network.
      dtype: of the activations.

    Raises:
      ValueError: there is no such primitive, or `check_primitive` or `check_purity`
        refuses it.
    """
    for name in dict.fromkeys(names):
        primitive = lookup(PRIMITIVES, name, "primitive")
        check_primitive(primitive, channels, dict.fromkeys(("float32", dtype)))
        check_purity(primitive, channels)


def draws_numbers(names: Iterable[str]) -> bool:
    """Whether any of some primitives draws random numbers.

    Raises:
      ValueError: there is no such primitive.
    """
    return any(lookup(PRIMITIVES, name, "primitive").draws for name in names)


def kernel_of(name: str, pool_bn: bool = False) -> EdgeKernel:
    """How the networks compute a primitive.

    Args:
      name: of the primitive.
      pool_bn: whether a pooling is followed by a norm.

    Raises:
      ValueError: there is no such primitive.
    """
    primitive = lookup(PRIMITIVES, name, "primitive")
    edge_kernel = primitive.kernel or kernel_from_functions(primitive)
    is_normed = pool_bn and primitive.family == "pool"
    return with_norm(edge_kernel) if is_normed else edge_kernel


# before a script or a plug-in adds or replaces an entry
BUILT_IN = dict(PRIMITIVES)
