"""Writes the network as an ONNX graph in evaluation mode.

Weights have their torch names. The auxiliary head is left out, and so is everything
that the output does not depend on.

Source: the operator reference of ONNX, opset 17.
"""

import numpy as np

from egnas_jax.export.description import Finished, describe
from egnas_jax.export.onnx_ops import (
    Graph,
    check_writable,
    conv,
    factorized_reduce,
    norm,
    primitive,
    relu_conv_norm,
    zeros,
)
from egnas_jax.interop import network_to_torch
from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.network_config import cell_plan
from egnas_jax.space import Genotype

OPSET = 17
IR_VERSION = 8  # belongs to opset 17; older runtimes cannot read a newer version


def check_onnx(finished: Finished) -> None:
    """Refuses a network that cannot be written as ONNX.

    Raises:
      ValueError: it is not of the DARTS family, or holds a primitive of a user's own.
    """
    genotype = finished.genotype
    if genotype.macro != Genotype.macro:
        raise ValueError(
            f"{genotype.format()} is a cell of stages, whose network cannot be written "
            f"as ONNX. Use --format stablehlo."
        )
    for kind in genotype.kinds:
        for name, *_ in genotype.edges_of(kind):
            if name != "none":
                check_writable(name)


def as_onnx(finished: Finished) -> bytes:
    """An ONNX file of pixels u8[batch, H, W, C] -> logits f32[batch, K], any batch.

    Raises:
      ValueError: the network cannot be written as ONNX, see `check_onnx`.
    """
    import onnx
    from onnx import TensorProto, helper

    check_onnx(finished)
    weights = network_to_torch(finished.variables, finished.genotype, finished.config)
    graph = Graph(weights)
    logits = _network(graph, finished)
    nodes, used = _reachable(graph.nodes, logits)
    images = ("batch", *finished.image_shape)
    classes = ("batch", finished.config.num_classes)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "egnas",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, images)],
            [helper.make_tensor_value_info(logits, TensorProto.FLOAT, classes)],
            [
                onnx.numpy_helper.from_array(array, name)
                for name, array in graph.constants.items()
                if name in used
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="egnas_jax",
    )
    helper.set_model_props(model, describe(finished))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _reachable(nodes, output):
    """The nodes that the output depends on, in order, and all names that they use."""
    kept, used = [], {output}
    for node in reversed(nodes):
        if used & set(node.output):
            kept.append(node)
            used |= set(node.input)
    return kept[::-1], used


def _network(graph: Graph, finished: Finished) -> str:
    """Adds all nodes from pixels to logits; returns the name of the logits."""
    states = _stem(graph, _normalised(graph, finished), finished.config.frame)
    plans = cell_plan(finished.genotype, finished.config)
    for index, plan in enumerate(plans):
        out = _cell(graph, finished.genotype, plan, f"cells.{index}", states)
        states = states[1], out
    pooled = graph.add("GlobalAveragePool", states[1])
    features = graph.add("Flatten", pooled, axis=1)
    return graph.add(
        "Gemm",
        features,
        "classifier.weight",
        "classifier.bias",
        transB=1,
        output="logits",
    )


def _normalised(graph: Graph, finished: Finished) -> str:
    """Normalised images: u8[N, H, W, C] -> f32[N, C, H, W]."""
    x = graph.add("Cast", "images", to=1)  # 1: TensorProto.FLOAT
    x = graph.add("Div", x, graph.constant("full", np.float32(255)))
    for kind, name in (("Sub", "mean"), ("Div", "std")):
        value = np.asarray(getattr(finished, name), np.float32)
        x = graph.add(kind, x, graph.constant(name, value))
    return graph.add("Transpose", x, perm=[0, 3, 1, 2])


def _stem(graph: Graph, x: str, frame: str) -> tuple[str, str]:
    """The two states before the first cell."""
    if frame == "cifar":
        x = norm(graph, conv(graph, x, "stem.0.weight", padding=1), "stem.1")
        return x, x
    x = norm(graph, conv(graph, x, "stem0.0.weight", 2, padding=1), "stem0.1")
    x = graph.add("Relu", x)
    older = norm(graph, conv(graph, x, "stem0.3.weight", 2, padding=1), "stem0.4")
    x = graph.add("Relu", older)
    return older, norm(graph, conv(graph, x, "stem1.1.weight", 2, padding=1), "stem1.2")


def _cell(
    graph: Graph, genotype: Genotype, plan: CellPlan, name: str, inputs: tuple[str, str]
) -> str:
    """The concatenated output nodes of a cell."""
    preprocess0 = factorized_reduce if plan.reduced_before else relu_conv_norm
    states = [
        preprocess0(graph, inputs[0], f"{name}.preprocess0."),
        relu_conv_norm(graph, inputs[1], f"{name}.preprocess1."),
    ]
    for block, pairs in enumerate(genotype.blocks(plan.kind)):
        parts = []
        for position, (kind, source) in enumerate(pairs):
            stride = 2 if plan.reduction and source < genotype.num_inputs else 1
            prefix = f"{name}._ops.{2 * block + position}."
            if kind == "none":
                none_input = states[source], stride
            else:
                parts.append(primitive(graph, kind, states[source], stride, prefix))
        if len(parts) == 2:
            states.append(graph.add("Add", *parts))
        else:
            states.append(parts[0] if parts else zeros(graph, *none_input))
    outputs = [states[node] for node in genotype.concat(plan.kind)]
    return graph.add("Concat", *outputs, axis=1)
