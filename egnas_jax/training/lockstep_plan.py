"""Divides a traced function into what shards compute alone and where they exchange.

The function is written for one shard and traced with a named axis over all shards:
`lax.psum`, `lax.all_gather`, its gradient `lax.psum_scatter` and `lax.axis_index` of
that axis are where the shards depend on one another. `lockstep.run` computes it for the
shards of one device.

A value varies if it may differ between shards. What does not vary is computed once.

Dims: S shards.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

SUMS, GATHERS, SCATTERS, INDEX = "psum", "all_gather", "reduce_scatter", "axis_index"
LOOP, BRANCHES = "scan", "cond"
_KNOWN = (SUMS, GATHERS, SCATTERS, INDEX, LOOP, BRANCHES)
# Primitives that call a function. They are inlined: XLA inlines calls in programs of
# several devices before it simplifies anything, and in those of one device later.
_CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"}
_RECOMPUTATIONS = {"checkpoint", "remat2"}  # inlined where shards exchange in them
Atom = Var | Literal


class Program(NamedTuple):
    """A function of one shard as a list of equations.

    Attributes:
      inputs, outputs: its arguments and results.
      equations: in an order in which they can be computed; without calls.
      indices: variables that are the number of the shard.
      fixed: equations that depend on known numbers alone. XLA folds them where they
        are used, so every part has copies of those that it reads.
      constants: variables that the function closes over, with their values.
    """

    inputs: list[Var]
    outputs: list[Atom]
    equations: list[JaxprEqn]
    indices: list[Var]
    fixed: list[JaxprEqn]
    constants: dict[Var, Any]


class Part(NamedTuple):
    """Equations of a program in which no shards exchange, as a function.

    Attributes:
      function: a function of the inputs.
      inputs: variables from outside.
      outputs: those that are read elsewhere.
    """

    function: ClosedJaxpr
    inputs: list[Var]
    outputs: list[Var]


class Stage(NamedTuple):
    """What is computed between two exchanges, and the exchange after it.

    Attributes:
      uniform: what is equal in all shards.
      varying: what each shard computes with its own values.
      exchanges: equations in which the shards exchange, loops over such included.
    """

    uniform: Part
    varying: Part
    exchanges: list[JaxprEqn]


def program_of(traced: ClosedJaxpr) -> Program:
    """Makes a program of a traced function.

    Raises:
      NotImplementedError: the shards exchange in a primitive that is not known here.
    """
    equations: list[JaxprEqn] = []
    constants: dict[Var, Any] = {}
    inputs = [Var(v.aval) for v in traced.jaxpr.invars]
    outputs = _inline(traced.jaxpr, traced.consts, inputs, equations, constants)
    used = _needed(equations, outputs)
    for equation in used:
        _check_known(equation)
    indices = [v for e in used if e.primitive.name == INDEX for v in e.outvars]
    used = [e for e in used if e.primitive.name != INDEX]
    fixed, others = _separated(
        used, {v for v in constants if _is_known_constant(v, constants)}
    )
    return Program(inputs, outputs, others, indices, fixed, constants)


def is_known(value: Any) -> bool:
    """Whether the numbers of a value are known while a program is traced."""
    return not isinstance(value, jax.core.Tracer)


def _separated(
    equations: list[JaxprEqn], known: set[Var]
) -> tuple[list[JaxprEqn], list[JaxprEqn]]:
    """Equations that depend on literals and known variables alone, and the others."""
    fixed, others, known = [], [], set(known)
    for equation in equations:
        if exchanges(equation) or not known.issuperset(_variables(equation.invars)):
            others.append(equation)
        else:
            fixed.append(equation)
            known.update(equation.outvars)
    return fixed, others


def _inline(
    jaxpr: Jaxpr, values: Sequence, inputs: Sequence[Atom], equations, constants
) -> list[Atom]:
    """Appends the equations of a call, with variables of their own."""
    names: dict[Var, Atom] = dict(zip(jaxpr.invars, inputs, strict=True))
    for variable, value in zip(jaxpr.constvars, values, strict=True):
        names[variable] = Var(variable.aval)
        constants[names[variable]] = value

    def read(atom: Atom) -> Atom:
        return atom if isinstance(atom, Literal) else names[atom]

    for equation in jaxpr.eqns:
        arguments = [read(atom) for atom in equation.invars]
        called = _called(equation)
        if called is not None:
            results = _inline(*called, arguments, equations, constants)
        else:
            results = [Var(v.aval) for v in equation.outvars]
            if equation.primitive.name == "div":
                shape = equation.outvars[0].aval.shape
                arguments[1] = _opaque(arguments[1], shape, equations, constants)
            equations.append(
                equation.replace(
                    invars=arguments,
                    outvars=results,
                    params=_without_calls(equation.params),
                )
            )
        names.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _called(equation: JaxprEqn) -> tuple[Jaxpr, Sequence] | None:
    """The function that an equation calls, and its constants; None for no call."""
    if equation.primitive.name not in _CALLS | _RECOMPUTATIONS:
        return None
    called = equation.params.get("call_jaxpr", equation.params.get("jaxpr"))
    jaxpr, consts = (
        (called.jaxpr, called.consts)
        if isinstance(called, ClosedJaxpr)
        else (called, ())
    )
    if exchanges(equation):
        return jaxpr, consts
    is_kept = equation.primitive.name in _RECOMPUTATIONS or consts
    return None if is_kept else (jaxpr, consts)


def _opaque(divisor: Atom, shape: tuple[int, ...], equations, constants) -> Atom:
    """A divisor of the shape of the quotient, behind a barrier.

    XLA replaces divisions by broadcast numbers by products with the inverse, where it
    sees them in time; that depends on the order in which it simplifies a program. The
    inverse of a known number it takes always.
    """
    is_known_here = isinstance(divisor, Literal) or _is_known_constant(
        divisor, constants
    )
    if is_known_here or divisor.aval.dtype.kind != "f":
        return divisor
    traced = jax.make_jaxpr(
        lambda x: lax.optimization_barrier(jnp.broadcast_to(x, shape))
    )(jax.ShapeDtypeStruct(divisor.aval.shape, divisor.aval.dtype))
    (result,) = _inline(traced.jaxpr, traced.consts, [divisor], equations, constants)
    return result


def _is_known_constant(variable: Var, constants: dict[Var, Any]) -> bool:
    """Whether a variable is a constant whose numbers are known."""
    return variable in constants and is_known(constants[variable])


def _without_calls(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of an equation with the calls in its loops and branches inlined."""

    def changed(value):
        if isinstance(value, ClosedJaxpr):
            return inlined(value)
        if isinstance(value, Jaxpr):  # of a `jax.shard_map`, say
            new = inlined(ClosedJaxpr(value, ()))
            return value if new.consts or value.constvars else new.jaxpr
        if isinstance(value, tuple) and value and isinstance(value[0], ClosedJaxpr):
            return tuple(inlined(part) for part in value)
        return value

    return {name: changed(value) for name, value in params.items()}


def steady(function: Callable) -> Callable:
    """Returns a function that XLA simplifies alike for one device and for several.

    Args:
      function: a function of arrays; it is traced at each call.
    """

    def same(*arguments):
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        results = jaxpr_as_fun(inlined(traced))(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return same


def inlined(traced: ClosedJaxpr) -> ClosedJaxpr:
    """Returns the same function for XLA to simplify alike for any number of devices.

    It has no calls, and no divisions that XLA could replace; nor have its loops and
    branches.
    """
    equations: list[JaxprEqn] = []
    constants: dict[Var, Any] = {}
    inputs = [Var(v.aval) for v in traced.jaxpr.invars]
    outputs = _inline(traced.jaxpr, traced.consts, inputs, equations, constants)
    effects = traced.jaxpr.effects
    jaxpr = Jaxpr(list(constants), inputs, outputs, equations, effects)
    return ClosedJaxpr(jaxpr, list(constants.values()))


def exchanges(equation: JaxprEqn) -> bool:
    """Whether an equation refers to the axis of the shards, anywhere inside."""
    return any(
        type(effect).__name__ == "NamedAxisEffect" for effect in equation.effects
    )


def _check_known(equation: JaxprEqn) -> None:
    name = equation.primitive.name
    if exchanges(equation) and name not in _KNOWN:
        raise NotImplementedError(
            f"The shards of a batch exchange within JAX's primitive {name}, but can do "
            f"so in {', '.join(_KNOWN)} alone. Write it by these, or leave out shards."
        )


def _needed(equations: list[JaxprEqn], outputs: Iterable[Atom]) -> list[JaxprEqn]:
    """The equations that some output depends on."""
    wanted = set(_variables(outputs))
    kept = []
    for equation in reversed(equations):
        if wanted.intersection(equation.outvars):
            kept.append(equation)
            wanted.update(_variables(equation.invars))
    return kept[::-1]


def _variables(atoms: Iterable[Atom]) -> list[Var]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def varying_in(program: Program, inputs: Sequence[bool]) -> dict[Var, bool]:
    """Returns for every variable of a program whether it varies.

    Args:
      program: of one shard.
      inputs: whether each input varies.
    """
    varies = dict.fromkeys(program.constants, False)
    varies |= dict.fromkeys(program.indices, True)
    varies |= {v: False for e in program.fixed for v in e.outvars}
    varies.update(zip(program.inputs, inputs, strict=True))
    for equation in program.equations:
        arguments = [is_varying(varies, atom) for atom in equation.invars]
        results = varying_results(equation, arguments)
        varies.update(zip(equation.outvars, results, strict=True))
    return varies


def is_varying(varies: dict[Var, bool], atom: Atom) -> bool:
    """Whether a variable varies; a literal does not."""
    return not isinstance(atom, Literal) and varies[atom]


def varying_results(equation: JaxprEqn, arguments: Sequence[bool]) -> list[bool]:
    """Returns for each result of an equation whether it varies."""
    name, count = equation.primitive.name, len(equation.outvars)
    if not exchanges(equation):
        return [any(arguments)] * count
    if name == LOOP:
        return varying_in_loop(equation, arguments)[1]
    if name == BRANCHES:
        branches = [
            _varying_outputs(branch, arguments[1:])
            for branch in equation.params["branches"]
        ]
        return [any(results) for results in zip(*branches, strict=True)]
    return [name == SCATTERS] * count  # a sum or a gathering is equal in all shards


def varying_in_loop(
    equation: JaxprEqn, arguments: Sequence[bool]
) -> tuple[list[bool], list[bool]]:
    """Returns for each argument and result of a `scan` whether it varies.

    A carry varies if it does so after any turn.
    """
    start = equation.params["num_consts"]
    stop = start + equation.params["num_carry"]
    arguments = list(arguments)
    while True:
        results = _varying_outputs(equation.params["jaxpr"], arguments)
        carries = results[: stop - start]
        joined = [a or b for a, b in zip(arguments[start:stop], carries, strict=True)]
        if joined == arguments[start:stop]:
            return arguments, joined + results[stop - start :]
        arguments[start:stop] = joined


def _varying_outputs(traced: ClosedJaxpr, inputs: Sequence[bool]) -> list[bool]:
    program = program_of(traced)
    varies = varying_in(program, inputs)
    return [is_varying(varies, atom) for atom in program.outputs]


def stages_of(program: Program, varies: dict[Var, bool]) -> list[Stage]:
    """Divides a program into as few stages as its exchanges allow.

    Args:
      program: of one shard.
      varies: the result of `varying_in`.
    """
    levels = _levels(program)
    _sink(program, varies, levels)
    stages = [([], [], []) for _ in range(max(levels, default=-1) + 1)]
    for equation, level in zip(program.equations, levels, strict=True):
        uniform, varying, exchanging = stages[level]
        if exchanges(equation):
            exchanging.append(equation)
        elif any(varies[variable] for variable in equation.outvars):
            varying.append(equation)
        else:
            uniform.append(equation)
    readers = _readers(stages, program.outputs)

    def part(equations: list[JaxprEqn]) -> Part:
        outputs = [
            variable
            for equation in equations
            for variable in equation.outvars
            if readers.get(variable, set()) - {id(equations)}
        ]
        return _part(program.fixed, equations, outputs)

    return [Stage(part(one), part(two), three) for one, two, three in stages]


def fixed_part(program: Program) -> Part:
    """What depends on known numbers alone and is read outside of all parts."""
    read = set(_variables(program.outputs))
    for equation in filter(exchanges, program.equations):
        read.update(_variables(equation.invars))
    outputs = [v for e in program.fixed for v in e.outvars if v in read]
    return _part(program.fixed, [], outputs)


def _readers(stages, outputs: Iterable[Atom]) -> dict[Var, set[int]]:
    """Variable -> where it is read: ids of lists of equations, 0 for the results."""
    readers: dict[Var, set[int]] = {v: {0} for v in _variables(outputs)}
    for lists in stages:
        for equations in lists:
            for equation in equations:
                for variable in _variables(equation.invars):
                    readers.setdefault(variable, set()).add(id(equations))
    return readers


def _part(fixed: list[JaxprEqn], equations: list[JaxprEqn], outputs: list[Var]) -> Part:
    """Makes a function of equations, with the fixed ones that they read."""
    read = [v for e in equations for v in _variables(e.invars)]
    equations = _needed(fixed, [*read, *outputs]) + equations
    made = {v for e in equations for v in e.outvars}
    read = dict.fromkeys(v for e in equations for v in _variables(e.invars))
    inputs = [variable for variable in read if variable not in made]
    effects = frozenset().union(*[equation.effects for equation in equations])
    jaxpr = Jaxpr((), inputs, outputs, equations, effects)
    return Part(ClosedJaxpr(jaxpr, ()), inputs, outputs)


def _levels(program: Program) -> list[int]:
    """The first stage in which each equation can be computed."""
    ready = dict.fromkeys((*program.inputs, *program.indices, *program.constants), 0)
    ready |= {v: 0 for e in program.fixed for v in e.outvars}
    levels = []
    for equation in program.equations:
        level = max((ready[v] for v in _variables(equation.invars)), default=0)
        levels.append(level)
        ready.update(dict.fromkeys(equation.outvars, level + exchanges(equation)))
    return levels


def _sink(program: Program, varies: dict[Var, bool], levels: list[int]) -> None:
    """Moves an equation to its first use where its results are not the smaller ones.

    Otherwise random masks, say, would be drawn for all cells at once, and kept.
    """
    last = max(levels, default=0)
    use = dict.fromkeys(_variables(program.outputs), last)
    for i, equation in reversed(list(enumerate(program.equations))):
        read = {v for v in _variables(equation.invars) if varies[v]}
        if not exchanges(equation) and _size(equation.outvars) >= _size(read):
            levels[i] = min(use.get(variable, last) for variable in equation.outvars)
        for variable in _variables(equation.invars):
            use[variable] = min(use.get(variable, last), levels[i])


def _size(variables: Iterable[Var]) -> int:
    return sum(v.aval.size * v.aval.dtype.itemsize for v in variables)
