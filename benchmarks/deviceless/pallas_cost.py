"""Counts what the Pallas kernels of a program move and compute, from its jaxpr.

The compiled program says of such a kernel no more than its operands and results. Its
jaxpr has everything that a block of threads does. An array in it counts its elements. A
number counts once for each thread, because all of them compute it. Each operation of
floating-point numbers is one instruction, a fused multiply-add too. Loads and stores
count as bytes through the L1 cache; a number that all threads load is one access of 128
bytes for each warp. From and to the card's memory, every operand and result counts
once.
"""

import math
from collections.abc import Iterator

from jax.extend.core import ClosedJaxpr, JaxprEqn, jaxprs_in_params

from benchmarks.deviceless.costs import Cost
from benchmarks.deviceless.kernels import Kernel

KIND = "pallas"
CALL_KIND = "call __gpu$xla.gpu.triton"  # such a kernel in the compiled program
WARP, ACCESS_BYTES = 32, 128
# Operations of integers and predicates are addresses and masks. The compiler shares
# them among the pixels of a row, and the roofline's share of the lanes allows for them.
OPERATIONS = frozenset(
    "add sub mul div max min neg integer_pow select_n convert_element_type reduce_sum "
    "elementwise_inline_asm_p".split()  # the last one is a fused multiply-add
)
LOADS, STORES = frozenset(["get", "masked_load"]), frozenset(["swap", "masked_swap"])
FLOATS = ("float32", "bfloat16")


def pallas_kernels(program: ClosedJaxpr) -> tuple[Kernel, ...]:
    """Lists the Pallas kernels of a program, with the launches of one call."""
    return tuple(
        Kernel(
            name=equation.params["name"],
            kind=KIND,
            source=equation.params["name"],
            launches=times,
            in_graph=False,
            cost=_launch_cost(equation),
        )
        for equation, times in _walk(program.jaxpr, 1)
        if equation.primitive.name == "pallas_call"
    )


def _walk(jaxpr, times) -> Iterator[tuple[JaxprEqn, int]]:
    """All equations of a program and how often they run; none inside of kernels."""
    for equation in jaxpr.eqns:
        yield equation, times
        if equation.primitive.name != "pallas_call":
            turns = times * equation.params.get("length", 1)  # of a scan
            for inner in jaxprs_in_params(equation.params):
                yield from _walk(inner, turns)


def _launch_cost(equation) -> Cost:
    arrays = [var.aval for var in (*equation.invars, *equation.outvars)]
    programs = math.prod(equation.params["grid_mapping"].grid)
    threads = WARP * equation.params["compiler_params"].num_warps
    l1_bytes = operations = 0
    for inner, times in _walk(equation.params["jaxpr"], programs):
        l1_bytes += times * _l1_bytes(inner, threads)
        operations += times * _operations(inner, threads)
    moved = sum(array.size * array.dtype.itemsize for array in arrays)
    return Cost(bytes=moved, l1_bytes=l1_bytes, operations=operations)


def _l1_bytes(equation, threads) -> int:
    """Bytes that a block loads and stores in one equation."""
    name = equation.primitive.name
    if name not in LOADS | STORES:
        return 0
    value = equation.outvars[0].aval  # a store returns what was there before
    if value.shape:
        return value.size * value.dtype.itemsize
    return ACCESS_BYTES * (threads // WARP if name in LOADS else 1)


def _operations(equation, threads) -> int:
    """Instructions of a block in one equation, on all its lanes."""
    name = equation.primitive.name
    if name not in OPERATIONS or str(equation.outvars[0].aval.dtype) not in FLOATS:
        return 0
    value = (equation.invars if name == "reduce_sum" else equation.outvars)[0].aval
    return math.prod(value.shape) if value.shape else threads
