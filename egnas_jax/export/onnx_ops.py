"""Builds layers and primitives of the DARTS family from ONNX nodes.

Each function takes the graph, the name of its input and the torch names of its weights,
and returns the name of its output. Arrays are [N, C, H, W]. Padding is symmetric, and
poolings do not count it.

Source: nn.layers and nn.primitives.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from egnas_jax.nn.layers import EPSILON
from egnas_jax.nn.primitives import kernel_of


class Graph:
    """Nodes in the order in which they run, and the constants that they read.

    Attributes:
      nodes: list of `onnx.NodeProto`.
      constants: name -> array, at first the weights.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]):
        self.nodes = []
        self.constants = dict(weights)

    def constant(self, name: str, value: np.ndarray) -> str:
        """Adds a constant, or replaces the one of this name; returns the name."""
        self.constants[name] = np.asarray(value)
        return name

    def add(
        self, kind: str, *inputs: str, output: str | None = None, **attributes: Any
    ) -> str:
        """Appends a node; returns the name of its output."""
        from onnx import helper

        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        )
        return name


def conv(
    graph: Graph,
    x: str,
    weight: str,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
) -> str:
    """A convolution without groups and bias."""
    kernel = graph.constants[weight]
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    return graph.add(
        "Conv",
        x,
        weight,
        kernel_shape=list(kernel.shape[2:]),
        strides=[stride, stride] if isinstance(stride, int) else list(stride),
        pads=[rows, columns, rows, columns],
    )


def depthwise(graph: Graph, x: str, weight: str, stride: int, dilation: int = 1) -> str:
    """A depthwise convolution with a kernel [C, 1, T, T]."""
    channels, _, *sides = graph.constants[weight].shape
    padding = dilation * (sides[0] - 1) // 2
    return graph.add(
        "Conv",
        x,
        weight,
        kernel_shape=sides,
        strides=[stride, stride],
        pads=[padding] * 4,
        dilations=[dilation, dilation],
        group=channels,
    )


def norm(graph: Graph, x: str, prefix: str) -> str:
    """Batch norm with running statistics."""
    names = ("weight", "bias", "running_mean", "running_var")
    return graph.add(
        "BatchNormalization",
        x,
        *(f"{prefix}.{name}" for name in names),
        epsilon=EPSILON,
    )


def relu_conv_norm(graph: Graph, x: str, prefix: str) -> str:
    """ReLU, 1x1 convolution, batch norm."""
    x = conv(graph, graph.add("Relu", x), f"{prefix}op.1.weight")
    return norm(graph, x, f"{prefix}op.2")


def factorized_reduce(graph: Graph, x: str, prefix: str) -> str:
    """Two convolutions with stride 2, of even and of odd pixels, and a batch norm."""
    even = graph.add("Relu", x)
    odd = _slice(graph, even, start=1, step=1)
    halves = (
        conv(graph, pixels, f"{prefix}{name}.weight", 2)
        for pixels, name in ((even, "conv_1"), (odd, "conv_2"))
    )
    return norm(graph, graph.add("Concat", *halves, axis=1), f"{prefix}bn")


def zeros(graph: Graph, x: str, stride: int) -> str:
    """The value of a node whose edges are both `none`."""
    like = _slice(graph, x, start=0, step=2) if stride == 2 else x
    return graph.add("ConstantOfShape", graph.add("Shape", like))


def check_writable(kind: str) -> None:
    """Refuses a primitive that cannot be written as ONNX nodes.

    Raises:
      ValueError: it has no writer.
    """
    if kernel_of(kind).onnx is None:
        raise ValueError(
            f"The primitive {kind} cannot be written as ONNX: only built-in primitives "
            f"that draw no random numbers can. Export the network by --format "
            f"stablehlo, which writes any primitive."
        )


def primitive(graph: Graph, kind: str, x: str, stride: int, prefix: str) -> str:
    """One edge with any primitive that `check_writable` takes, except `none`."""
    return WRITERS[kernel_of(kind).onnx](graph, x, stride, prefix)


def _skip(graph, x, stride, prefix):
    return x if stride == 1 else factorized_reduce(graph, x, prefix)


def _pool(graph, x, stride, prefix, *, node):
    """A 3x3 pooling; AveragePool does not count the padding by default."""
    del prefix
    return graph.add(
        node, x, kernel_shape=[3, 3], strides=[stride, stride], pads=[1, 1, 1, 1]
    )


def _row_column(graph, x, stride, prefix):
    x = conv(graph, graph.add("Relu", x), f"{prefix}1.weight", (1, stride), (0, 3))
    x = conv(graph, x, f"{prefix}2.weight", (stride, 1), (3, 0))
    return norm(graph, x, f"{prefix}3")


def _convolution(graph, x, stride, prefix):
    """A full convolution of a square window, whose output is as large as its input."""
    weight = f"{prefix}op.1.weight"
    padding = graph.constants[weight].shape[-1] // 2
    x = conv(graph, graph.add("Relu", x), weight, stride, padding)
    return norm(graph, x, f"{prefix}op.2")


def _dil_conv(graph, x, stride, prefix):
    x = graph.add("Relu", x)
    return _block(graph, x, f"{prefix}op.", 1, stride=stride, dilation=2)


def _sep_conv(graph, x, stride, prefix):
    x = _block(graph, graph.add("Relu", x), f"{prefix}op.", 1, stride=stride)
    return _block(graph, graph.add("Relu", x), f"{prefix}op.", 5)


# By `EdgeKernel.onnx`: (graph, input, stride, prefix of the weights) -> output.
WRITERS = {
    "skip": _skip,
    "average": functools.partial(_pool, node="AveragePool"),
    "maximum": functools.partial(_pool, node="MaxPool"),
    "row_column": _row_column,
    "convolution": _convolution,
    "dil_conv": _dil_conv,
    "sep_conv": _sep_conv,
}


def _block(graph, x, prefix, first, *, stride=1, dilation=1):
    """Depthwise and pointwise convolution and batch norm, numbered from `first`."""
    x = depthwise(graph, x, f"{prefix}{first}.weight", stride, dilation)
    x = conv(graph, x, f"{prefix}{first + 1}.weight")
    return norm(graph, x, f"{prefix}{first + 2}")


def _slice(graph, x, start, step):
    """Every `step`-th pixel from `start` on, in height and width."""
    parts = {"from": start, "end": np.iinfo(np.int64).max, "step": step}
    starts, ends, steps = (
        graph.constant(f"{name}_{value}", np.array([value, value]))
        for name, value in parts.items()
    )
    axes = graph.constant("sides", np.array([2, 3]))
    return graph.add("Slice", x, starts, ends, axes, steps)
