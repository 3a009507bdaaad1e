"""Counts what one kernel of optimised HLO moves and computes.

Memory traffic is counted without a cache between kernels. An array that a kernel reads
counts once, or as much of it as the kernel's slices take; its results count once.
Traffic through the L1 cache counts every slice that is read, so a depthwise convolution
as a sum of 25 taps reads its input 25 times there. What a fusion computes counts once
for each element of the instruction, although a compiler may compute it again for each
use.
"""

import functools
import math
from collections import defaultdict
from typing import NamedTuple

from benchmarks.deviceless.hlo_text import Computation, Instruction, Module
from benchmarks.deviceless.products import products_of

# Instructions that neither move nor compute: they name, or reinterpret, bytes.
NO_KERNEL = frozenset(
    "parameter constant tuple get-tuple-element bitcast after-all opt-barrier "
    "partition-id replica-id add-dependency".split()
)
# Instructions that select or move elements, which costs no arithmetic in a fusion.
MOVES = frozenset(
    "broadcast slice reshape iota transpose concatenate dynamic-slice pad reverse copy "
    "dynamic-update-slice gather scatter bitcast-convert".split()
)
# Each takes about eight instructions of a float32 lane (a special-function unit has a
# quarter of the throughput, and the argument is reduced first).
SLOW = frozenset(
    "exponential exponential-minus-one log log-plus-one logistic tanh power sqrt cbrt "
    "rsqrt divide sine cosine erf".split()
)
SLOW_OPERATIONS = 8
_PARTS = frozenset({"slice", "dynamic-slice", "gather"})  # read a part of an operand
_RENAMES = frozenset({"bitcast", "reshape"})


class Cost(NamedTuple):
    """What one kernel moves and computes.

    Attributes:
      bytes: read from and written to the card's memory.
      l1_bytes: read through the L1 cache.
      operations: scalar operations outside matrix products and convolutions.
      products: operations of matrix products and convolutions; a multiply-add is two.
      product_dtype: of their operands, such as "bf16"; "" without products.
    """

    bytes: int = 0
    l1_bytes: int = 0
    operations: int = 0
    products: int = 0
    product_dtype: str = ""


def kernel_cost(
    module: Module, computation: Computation, instruction: Instruction
) -> Cost:
    """Counts the cost of an instruction that runs as a kernel.

    Args:
      module: the whole program, for the computation that a fusion calls.
      computation: where the instruction stands.
      instruction: any but those of `NO_KERNEL`, loops, branches and calls.
    """
    if instruction.opcode == "fusion":
        return _fusion_cost(module.computations[called(instruction)])
    operands = _operands(computation, instruction)
    if instruction.opcode in _PARTS:
        return Cost(2 * instruction.bytes, instruction.bytes)
    if instruction.opcode == "dynamic-update-slice":
        return Cost(2 * operands[1].bytes, operands[1].bytes)
    read = sum(operand.bytes for operand in operands)
    products, dtype = products_of(computation, instruction)
    return Cost(
        bytes=read + _result_bytes(instruction),
        l1_bytes=read,
        operations=0 if products else _operations(computation, instruction),
        products=products,
        product_dtype=dtype,
    )


def called(instruction: Instruction) -> str:
    """Name of the computation that a fusion or an asynchronous start runs."""
    return instruction.attribute(r"calls=%?([\w.\-]+)")


def _operands(computation, instruction) -> list[Instruction]:
    return [computation[name] for name in instruction.operands if name in computation]


def _result_bytes(instruction):
    """Bytes written; the second result of a library call is its workspace."""
    if instruction.opcode == "custom-call":
        return instruction.shapes[0].bytes
    return instruction.bytes


def _fusion_cost(inner: Computation) -> Cost:
    users = _users(inner)
    written, updated = _written(inner)
    total = Cost(bytes=written)
    for instruction in inner.values():
        if instruction.opcode == "parameter":
            cost = _read(instruction, users, instruction.name in updated)
        else:
            products, dtype = products_of(inner, instruction)
            operations = 0 if products else _operations(inner, instruction)
            cost = Cost(0, 0, operations, products, dtype)
        total = add_costs(total, cost)
    return total


def add_costs(a: Cost, b: Cost) -> Cost:
    """Adds two costs of one kernel, whose products have one dtype."""
    sums = (x + y for x, y in zip(a[:4], b[:4], strict=True))
    return Cost(*sums, a.product_dtype or b.product_dtype)


def _users(inner):
    """Name -> the instructions that read it, with the name that they know it by."""
    direct = defaultdict(list)
    for instruction in inner.values():
        for name in dict.fromkeys(instruction.operands):  # one load serves both
            direct[name].append(instruction)

    @functools.cache
    def users(name):
        found = []
        for user in direct[name]:
            if user.opcode in _RENAMES:
                found += users(user.name)
            else:
                found.append((user, name))
        return found

    return users


def _written(inner) -> tuple[int, set[str]]:
    """Bytes that a fusion writes, and the parameters that it updates in place."""
    root = next(i for i in inner.values() if i.is_root)
    results = [root]
    if root.opcode == "tuple":
        results = [inner[name] for name in root.operands]
    written, updated = 0, set()
    for result in results:
        result = _renamed(inner, result)
        if result.opcode == "dynamic-update-slice":
            target, update = (inner[name] for name in result.operands[:2])
            written += update.bytes
            updated.add(_renamed(inner, target).name)
        else:
            written += result.bytes
    return written, updated


def _renamed(inner, instruction):
    """What a chain of bitcasts and reshapes renames."""
    while instruction.opcode in _RENAMES:
        instruction = inner[instruction.operands[0]]
    return instruction


def _read(parameter, users, is_updated) -> Cost:
    """Bytes that a fusion reads of one of its parameters."""
    read = 0
    for user, name in users(parameter.name):
        is_target = user.operands[0] == name
        if is_target and user.opcode == "dynamic-update-slice" and is_updated:
            continue  # in place: the rest of the array stays where it is
        if is_target and user.opcode in _PARTS:
            read += user.bytes
        else:
            read += parameter.bytes
    return Cost(min(read, parameter.bytes), read)


def _operations(computation, instruction) -> int:
    """Scalar operations of an instruction that is no product."""
    opcode = instruction.opcode
    if opcode in NO_KERNEL or opcode in MOVES or opcode in ("fusion", "custom-call"):
        return 0
    elements = instruction.shapes[0].size if instruction.shapes else 0
    if opcode == "reduce":
        return _operands(computation, instruction)[0].shapes[0].size
    if opcode == "reduce-window":
        return elements * math.prod(_window(instruction, "size"))
    return elements * (SLOW_OPERATIONS if opcode in SLOW else 1)


def _window(instruction, key):
    """Numbers of a window, such as those of `window={size=1x3x3}`."""
    text = instruction.attribute(rf"window={{[^}}]*\b{key}=([\dx]+)") or "1"
    return [int(number) for number in text.split("x")]
