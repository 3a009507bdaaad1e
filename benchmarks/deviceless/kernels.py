"""Lists the kernels of a compiled program, with how often each is launched.

Loops count their turns: as XLA states them, or as the caller says where the count is an
argument of the program. Which side of a branch runs is not known. In a loop with at
least as many turns as there are sides, as over cells that differ in their inputs, each
side counts for an equal share. Elsewhere, as where a search explores only after its
warm-up, the side that moves most counts alone.
"""

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from benchmarks.deviceless.costs import NO_KERNEL, Cost, called, kernel_cost
from benchmarks.deviceless.hlo_text import Computation, Instruction, Module
from benchmarks.deviceless.kinds import kind_of


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
    """An instruction that runs: where it stands, and how often."""

    instruction: Instruction
    computation: Computation
    times: float


class _Place(NamedTuple):
    """A computation that runs.

    Attributes:
      name: of the computation.
      times: how often it runs in one call.
      turns: of the innermost loop around it; 1 outside of loops.
    """

    name: str
    times: float = 1.0
    turns: int = 1


def list_kernels(
    module: Module,
    unknown_turns: int = 1,
    in_graphs: Collection[str] = (),
) -> Program:
    """Lists what one call of a program launches.

    Args:
      module: the program.
      unknown_turns: turns of loops whose count is known only at run time.
      in_graphs: instructions whose kernels CUDA graphs launch.
    """
    visits = tuple(_visits(module, unknown_turns, _Place(module.entry)))
    loops = [visit for visit in visits if visit.instruction.opcode == "while"]
    kernels = (
        _kernel(module, visit, in_graphs)
        for visit in visits
        if visit.instruction.opcode != "while"
    )
    turns = (v.times * (_turns(v.instruction) or unknown_turns) for v in loops)
    unknown = sum(_turns(visit.instruction) is None for visit in loops)
    return Program(tuple(kernels), sum(turns), unknown)


def _kernel(module, visit, in_graphs=()):
    instruction = visit.instruction
    path = instruction.attribute(r'op_name="([^"]*)"') or ""
    return Kernel(
        name=instruction.name,
        kind=kind_of(module, visit.computation, instruction),
        source="/".join(path.split("/")[-2:]),
        launches=visit.times,
        in_graph=instruction.name in in_graphs,
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
            yield _Visit(instruction, computation, place.times)
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
        yield place._replace(name=instruction.attribute(r"to_apply=%?([\w.\-]+)"))
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
