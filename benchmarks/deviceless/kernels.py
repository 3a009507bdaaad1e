"""Lists the kernels of a compiled program, with how often each is launched.

Loops count their turns: as XLA states them, or as the caller says where the count is an
argument of the program. Which side of a branch runs is not known. In a loop with at
least as many turns as there are sides, as over cells that differ in their inputs, each
side counts for an equal share. Elsewhere, as where a search explores only after its
warm-up, the side that moves most counts alone.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.deviceless.costs import (
    NO_KERNEL,
    Cost,
    called,
    is_convolution,
    is_gemm,
    kernel_cost,
    target,
)
from benchmarks.deviceless.hlo_text import Computation, Instruction, Module

# What a fusion that only moves elements consists of.
_MOVING = NO_KERNEL | frozenset(
    "broadcast slice reshape concatenate pad convert dynamic-slice reverse iota "
    "dynamic-update-slice copy".split()
)


class Kernel(NamedTuple):
    """One kernel of a program.

    Attributes:
      name: of its instruction.
      kind: what sort of kernel it is, see `kind_of`.
      source: the last names of the JAX function that it comes from.
      launches: how often one call launches it; may be a fraction behind a branch.
      in_graph: whether a CUDA graph launches it.
      cost: of one launch.
    """

    name: str
    kind: str
    source: str
    launches: float
    in_graph: bool
    cost: Cost


class Program(NamedTuple):
    """The kernels of a program, and how often its loops turn.

    Attributes:
      kernels: in the order of the schedule.
      turns: turns of all loops in one call, which the host waits for.
      unknown_loops: loops whose turns the caller had to state.
    """

    kernels: tuple[Kernel, ...]
    turns: float
    unknown_loops: int


class _Visit(NamedTuple):
    """An instruction that runs: where it stands, how often, whether in a graph."""

    instruction: Instruction
    computation: Computation
    times: float
    in_graph: bool


class _Place(NamedTuple):
    """A computation that runs.

    Attributes:
      name: of the computation.
      times: how often it runs in one call.
      turns: of the innermost loop around it; 1 outside of loops.
      in_graph: whether a CUDA graph launches it.
    """

    name: str
    times: float = 1.0
    turns: int = 1
    in_graph: bool = False


def list_kernels(module: Module, unknown_turns: int = 1) -> Program:
    """Lists what one call of a program launches.

    Args:
      module: the program.
      unknown_turns: turns of loops whose count is known only at run time.
    """
    visits = tuple(_visits(module, unknown_turns, _Place(module.entry)))
    loops = [visit for visit in visits if visit.instruction.opcode == "while"]
    kernels = (_kernel(module, v) for v in visits if v.instruction.opcode != "while")
    turns = (v.times * (_turns(v.instruction) or unknown_turns) for v in loops)
    unknown = sum(_turns(visit.instruction) is None for visit in loops)
    return Program(tuple(kernels), sum(turns), unknown)


def _kernel(module, visit):
    instruction = visit.instruction
    path = instruction.attribute(r'op_name="([^"]*)"') or ""
    return Kernel(
        name=instruction.name,
        kind=kind_of(module, visit.computation, instruction),
        source="/".join(path.split("/")[-2:]),
        launches=visit.times,
        in_graph=visit.in_graph,
        cost=kernel_cost(module, visit.computation, instruction),
    )


def _turns(loop):
    """Turns of a loop, or None where they are known only at run time."""
    count = loop.attribute(r'"known_trip_count":\{"n":"(\d+)"')
    return None if count is None else int(count)


def _visits(module: Module, unknown: int, place: _Place) -> Iterator[_Visit]:
    """Yields all that runs in a computation: kernels, and loops before their bodies."""
    computation = module.computations[place.name]
    for instruction in computation.values():
        inside = list(_inside(module, instruction, unknown, place))
        if instruction.opcode == "while" or not (inside or _is_free(instruction)):
            yield _Visit(instruction, computation, place.times, place.in_graph)
        for part in inside:
            yield from _visits(module, unknown, part)


def _is_free(instruction):
    return instruction.opcode in NO_KERNEL or instruction.opcode.endswith("-done")


def _inside(module, instruction, unknown, place) -> Iterator[_Place]:
    """Computations that an instruction at a place runs; a fusion is one kernel."""
    opcode = instruction.opcode
    if opcode == "while":
        turns = _turns(instruction)
        times = place.times * (turns or unknown)
        body = instruction.attribute(r"body=%?([\w.\-]+)")
        yield place._replace(name=body, times=times, turns=turns or unknown)
        if turns is None:  # else the host counts
            condition = instruction.attribute(r"condition=%?([\w.\-]+)")
            yield place._replace(name=condition, times=times + place.times)
    elif opcode == "conditional":
        yield from _sides(module, instruction, unknown, place)
    elif opcode == "call":
        name = instruction.attribute(r"to_apply=%?([\w.\-]+)")
        in_graph = place.in_graph or "command_buffer" in name
        yield place._replace(name=name, in_graph=in_graph)
    elif opcode.endswith("-start") and called(instruction):
        yield place._replace(name=called(instruction))


def _sides(module, conditional, unknown, place) -> list[_Place]:
    """The sides of a branch that count; the module's docstring says which."""
    sides = [place._replace(name=name) for name in _branches(conditional)]
    if place.turns >= len(sides):
        return [side._replace(times=side.times / len(sides)) for side in sides]

    def moved(side):
        kernels = (_kernel(module, v) for v in _visits(module, unknown, side))
        return sum(kernel.launches * kernel.cost.bytes for kernel in kernels)

    return [max(sides, key=moved)]


def _branches(conditional):
    names = conditional.attribute(r"branch_computations=\{([^}]*)\}")
    if names is None:
        pattern = r"(?:true|false)_computation=%?([\w.\-]+)"
        return re.findall(pattern, conditional.attributes)
    return re.findall(r"[\w.\-]+", names)


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
