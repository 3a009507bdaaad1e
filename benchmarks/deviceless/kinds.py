"""Names the sort of a kernel, so that a program's kernels can be added up by it."""

import re

from benchmarks.deviceless.costs import NO_KERNEL, called
from benchmarks.deviceless.hlo_text import Computation, Instruction, Module
from benchmarks.deviceless.products import is_convolution, is_gemm, target

# What a fusion that only moves elements consists of.
_MOVING = NO_KERNEL | frozenset(
    "broadcast slice reshape concatenate pad convert dynamic-slice reverse iota "
    "dynamic-update-slice copy".split()
)


def kind_of(module: Module, computation: Computation, instruction: Instruction) -> str:
    """Names the sort of a kernel.

    Returns:
      - "cudnn convolution", with "grouped" or the name of a gradient; "cublas product";
        "triton product"; "call NAME" for another library function;
      - "transpose": it writes elements in another order;
      - "reduce", "reduce-window", "scatter": a fusion or an instruction with one;
      - "move": it copies, pads, cuts or joins, without arithmetic;
      - "elementwise": any other fusion; otherwise the opcode.
    """
    if instruction.opcode == "custom-call":
        return _library_kind(instruction)
    if instruction.opcode == "fusion":
        return _fusion_kind(module.computations[called(instruction)], instruction)
    if instruction.opcode == "copy":
        source = computation[instruction.operands[0]]
        return "move" if _same_order(source, instruction) else "transpose"
    return instruction.opcode


def _library_kind(instruction):
    if is_gemm(instruction):
        return "cublas product"
    if not is_convolution(instruction):
        return f"call {target(instruction)}"
    grouped = instruction.attribute(r"feature_group_count=(\d+)") or "1"
    words = ["cudnn convolution"]
    words += ["grouped"] if int(grouped) > 1 else []
    gradient = re.search(r"conv(Backward\w+)", target(instruction))
    return " ".join([*words, *([gradient.group(1)] if gradient else [])])


def _fusion_kind(inner, fusion):
    opcodes = {instruction.opcode for instruction in inner.values()}
    if "__cudnn$fusion" in fusion.attributes:
        return "cudnn fusion"
    if "__triton" in fusion.attributes and "dot" in opcodes:
        return "triton product"
    for opcode in ("scatter", "reduce", "reduce-window"):
        if opcode in opcodes:
            return opcode
    if "transpose" in opcodes or any(_reorders(inner, i) for i in inner.values()):
        return "transpose"
    return "move" if opcodes <= _MOVING else "elementwise"


def _reorders(inner, instruction):
    if instruction.opcode != "copy":
        return False
    return not _same_order(inner[instruction.operands[0]], instruction)


def _same_order(source, result):
    """Whether two arrays of one shape keep their elements in the same order."""
    orders = []
    for shape in (source.shapes[0], result.shapes[0]):
        # axes of size 1 may stand anywhere
        orders.append([axis for axis in shape.layout if shape.dims[axis] > 1])
    return orders[0] == orders[1]
