"""Counts the operations of matrix products and convolutions in optimised HLO."""

import math
import re

from benchmarks.deviceless.hlo_text import Computation, Instruction


def products_of(computation: Computation, instruction: Instruction) -> tuple[int, str]:
    """Operations of a matrix product or a convolution, and the operands' dtype.

    A multiply-add counts as two operations. Other instructions give (0, "").
    """
    if instruction.opcode == "dot" or is_gemm(instruction):
        count = _dot(computation, instruction)
    elif instruction.opcode == "convolution" or is_convolution(instruction):
        count = _convolution(computation, instruction)
    else:
        return 0, ""
    return count, computation[instruction.operands[0]].shapes[0].dtype


def target(instruction: Instruction) -> str:
    """The library function of a custom call, or an empty text."""
    return instruction.attribute(r'custom_call_target="([^"]+)"') or ""


def is_gemm(instruction: Instruction) -> bool:
    """Whether an instruction calls a matrix product of cuBLAS."""
    return "cublas" in target(instruction)


def is_convolution(instruction: Instruction) -> bool:
    """Whether an instruction calls a convolution of cuDNN."""
    return "cudnn" in target(instruction) and "conv" in target(instruction).lower()


def _dot(computation, instruction):
    """Operations of a product: twice the results times the contracted sizes."""
    left = computation[instruction.operands[0]].shapes[0]
    pattern = r'lhs_contracting_dim(?:ension)?s"?[=:][{\[]([^}\]]*)'
    axes = re.findall(r"\d+", instruction.attribute(pattern) or "")
    contracted = math.prod(left.dims[int(axis)] for axis in axes)
    return 2 * instruction.shapes[0].size * contracted


def _convolution(computation, instruction):
    """Operations of a convolution: each output needs one kernel of its channel.

    Of the three arrays, images, kernel and outputs, a gradient with respect to one has
    as many operations as the convolution.
    """
    labels = instruction.attribute(r"dim_labels=(\w+->\w+)")
    outputs = re.search(r"->(\w+)", labels).group(1)
    left, right = (operand.shapes[0] for operand in _two(computation, instruction))
    result = instruction.shapes[0]
    name = target(instruction)
    if "BackwardInput" in name:
        kernel, output = right, left
    elif "BackwardFilter" in name:
        kernel, output = result, right
    else:
        kernel, output = right, result
    features = output.dims[outputs.index("f")]
    return 2 * output.size * kernel.size // max(features, 1)


def _two(computation, instruction):
    return [computation[name] for name in instruction.operands[:2]]
