"""Computes the shards of a batch one after another between the points of exchange.

A device that holds several shards cannot finish one before it begins the next: batch
norm needs the moments of all shards in the middle of the network. So all shards go
from one exchange to the next, each by a turn of a loop whose body has the shapes of
one shard. The body is the same whatever number of shards a device has, and an exchange
copies values to all devices before they are added in the order of the shards. So the
results do not depend on the number of devices.

Dims: S shards, K shards of one device.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from egnas_jax.training import lockstep_plan as plan
from egnas_jax.types import Array, PyTree

# Elements that follow the last row. Without them XLA would see that the row of a device
# with one shard is all there is, and simplify its program in ways of its own.
_PADDING = 8


class Group(NamedTuple):
    """The shards of one device.

    Attributes:
      size: K.
      first: number of the first one.
      gather: values of the K shards [K, ...] -> those of all shards [S, ...].
      turns: how many of them are computed, K or less; see `turns_of`.
    """

    size: int
    first: Array | int
    gather: Callable[[Array], Array]
    turns: Array


@flax.struct.dataclass
class Rows:
    """An array of each shard of a device.

    Attributes:
      packed: the rows one behind the other, and padding; the last axis.
      shape: of a row.
    """

    packed: Array
    shape: tuple[int, ...] = flax.struct.field(pytree_node=False)

    def row(self, i: Array) -> Array:
        """The array of one shard."""
        size = math.prod(self.shape)
        row = lax.dynamic_slice(
            self.packed, (i * size,), (size,), allow_negative_indices=False
        )
        return row.reshape(self.shape)

    def replaced(self, i: Array, row: Array) -> "Rows":
        """The rows with that of one shard replaced."""
        start = i * math.prod(self.shape)
        packed = lax.dynamic_update_slice(
            self.packed, row.ravel(), (start,), allow_negative_indices=False
        )
        return self.replace(packed=packed)

    def unpacked(self) -> Array:
        """[K, ...]."""
        rows = self.packed[..., :-_PADDING]
        return rows.reshape(*self.packed.shape[:-1], -1, *self.shape)


def empty_rows(size: int, shape: tuple[int, ...], dtype: Any) -> Rows:
    """Rows of zeros for K shards."""
    return Rows(jnp.zeros(size * math.prod(shape) + _PADDING, dtype), shape)


def packed(rows: Array) -> Rows:
    """Packs the arrays of K shards, [K, ...]."""
    empty = empty_rows(len(rows), rows.shape[1:], rows.dtype)
    start = jnp.zeros((), jnp.int32)
    return empty.replace(
        packed=lax.dynamic_update_slice(empty.packed, rows.ravel(), (start,))
    )


def turns_of(size: Array | int, values: PyTree) -> Array:
    """Returns a number of turns that XLA cannot know: it inlines a loop of one turn.

    Args:
      size: number of turns.
      values: arrays that are no constants.
    """
    value = jax.tree.leaves(values)[0].ravel()[0]
    is_float = jnp.issubdtype(value.dtype, jnp.floating)
    least = -jnp.inf if is_float else jnp.iinfo(value.dtype).min
    more = size + (value == least).astype(jnp.int32)
    return jnp.minimum(more, size)


def by_turns(group: Group, function: Callable, rows: PyTree, *shared: PyTree) -> PyTree:
    """Computes a function for the shards of a device, one after another.

    Args:
      group: of K shards.
      function: a function of the arrays of one shard, and of what the shards share.
      rows: tree of `Rows`.
      shared: further arguments.

    Returns:
      A tree of `Rows`; those of shards without a turn are zeros.
    """

    def rows_at(i):
        return map_rows(lambda leaf: leaf.row(i), rows)

    traced, shapes = jax.make_jaxpr(function, return_shape=True)(rows_at(0), *shared)
    traced = plan.inlined(traced)
    shapes, structure = jax.tree.flatten(shapes)
    outside = [value for value in traced.consts if not plan.is_known(value)]

    def called(outside, arguments):
        left = iter(outside)
        consts = [v if plan.is_known(v) else next(left) for v in traced.consts]
        return jaxpr_as_fun(ClosedJaxpr(traced.jaxpr, consts))(*arguments)

    def turn(i, results):
        # XLA must compile the function without regard to what surrounds it, which
        # depends on K. So it is a branch, which is a computation of its own, and its
        # arguments pass a barrier: XLA folds those that it knows to be constants. The
        # other branch is never taken.
        arguments = outside, jax.tree.leaves((rows_at(i), *shared))
        row = lax.cond(
            i < group.turns,
            # JAX would pass constants as arguments, but not those of a call
            jax.jit(called),
            lambda *_: [jnp.zeros(leaf.shape, leaf.dtype) for leaf in shapes],
            *lax.optimization_barrier(arguments),
        )
        return [
            all_rows.replaced(i, one)
            for all_rows, one in zip(results, row, strict=True)
        ]

    empty = [empty_rows(group.size, leaf.shape, leaf.dtype) for leaf in shapes]
    return jax.tree.unflatten(structure, lax.fori_loop(0, group.turns, turn, empty))


def map_rows(function: Callable, rows: PyTree) -> PyTree:
    """Calls a function for each `Rows` of a tree."""
    return jax.tree.map(function, rows, is_leaf=lambda leaf: isinstance(leaf, Rows))


def rows_of(tree: PyTree) -> list[Rows]:
    """The `Rows` of a tree, in its order."""
    return jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, Rows))


def sum_in_order(values: Array) -> Array:
    """Adds values [S, ...] one after the other: [...]."""
    return functools.reduce(operator.add, [values[i] for i in range(len(values))])


def sums_of_shards(group: Group, values: Sequence[Array | Rows]) -> list[Array]:
    """Adds values of all shards in the order of the shards.

    Values of one dtype are gathered and added as one array, since every collective and
    every addition of its own would have to be compiled.

    Args:
      group: the shards of a device.
      values: of each of its shards.
    """
    values = [stacked(group, value) for value in values]
    sums: dict[int, Array] = {}
    for dtype in dict.fromkeys(value.dtype for value in values):
        alike = {i: value for i, value in enumerate(values) if value.dtype == dtype}
        flat = [value.reshape(group.size, -1) for value in alike.values()]
        total = sum_in_order(group.gather(jnp.concatenate(flat, axis=1)))
        ends = np.cumsum([rows.shape[1] for rows in flat])
        for i, part in zip(alike, jnp.split(total, ends[:-1]), strict=True):
            sums[i] = part.reshape(values[i].shape[1:])
    return [sums[i] for i in range(len(values))]


def run(group: Group, traced: ClosedJaxpr, arguments: Sequence) -> list[Array | Rows]:
    """Computes a traced function of one shard for all shards of a device.

    Args:
      group: the shards of the device.
      traced: the function, see `lockstep_plan`.
      arguments: `Rows`, or arrays that are equal in all shards.

    Returns:
      The results. Those that are the same in all shards are no `Rows`.
    """
    program = plan.program_of(traced)
    varying = plan.varying_in(program, _are_rows(arguments))
    values = dict(program.constants)
    values.update(zip(program.inputs, arguments, strict=True))
    for variable in program.indices:
        numbers = group.first + jnp.arange(group.size, dtype=jnp.int32)
        values[variable] = packed(numbers)
    values.update(_once(plan.fixed_part(program), values))
    for stage in plan.stages_of(program, varying):
        values.update(_once(stage.uniform, values))
        values.update(_by_shards(group, stage.varying, values))
        for equation in stage.exchanges:
            read = [_read(values, atom) for atom in equation.invars]
            results = _EXCHANGES[equation.primitive.name](group, equation, read)
            values.update(zip(equation.outvars, results, strict=True))
    return [_read(values, atom) for atom in program.outputs]


def _read(values: dict, atom: plan.Atom) -> Any:
    return atom.val if isinstance(atom, Literal) else values[atom]


def _are_rows(values: Sequence) -> list[bool]:
    return [isinstance(value, Rows) for value in values]


def _once(part: plan.Part, values: dict) -> dict[Var, Array]:
    """The results of equations that are equal in all shards."""
    function = jaxpr_as_fun(part.function)
    results = function(*[values[variable] for variable in part.inputs])
    return dict(zip(part.outputs, results, strict=True))


def _by_shards(group: Group, part: plan.Part, values: dict) -> dict[Var, Rows]:
    """The results of equations that each shard computes with its own values."""
    if not part.outputs:
        return {}
    read = {v: values[v] for v in part.inputs}
    rows = {v: value for v, value in read.items() if isinstance(value, Rows)}
    known = {v: x for v, x in read.items() if v not in rows and plan.is_known(x)}
    others = {v: x for v, x in read.items() if v not in rows and v not in known}
    function = jaxpr_as_fun(part.function)

    def of_shard(row, shared):
        arrays = known | dict(zip((*rows, *others), (*row, *shared), strict=True))
        return function(*[arrays[variable] for variable in part.inputs])

    results = by_turns(group, of_shard, list(rows.values()), list(others.values()))
    return dict(zip(part.outputs, results, strict=True))


def stacked(group: Group, value: Array | Rows) -> Array:
    """Returns a value of each shard of a device: [K, ...]."""
    if isinstance(value, Rows):
        return value.unpacked()
    return jnp.broadcast_to(value, (group.size, *jnp.shape(value)))


def _of_all_shards(group: Group, value: Array | Rows) -> Array:
    """[S, ...], on every device."""
    return group.gather(stacked(group, value))


def _sums(group: Group, equation: JaxprEqn, arguments: list) -> list[Array]:
    return sums_of_shards(group, arguments)


def _gathered(group: Group, equation: JaxprEqn, arguments: list) -> list[Array]:
    axis = equation.params["all_gather_dimension"]
    parts = [_of_all_shards(group, value) for value in arguments]
    if equation.params["tiled"]:
        return [jnp.concatenate(list(part), axis) for part in parts]
    return [jnp.moveaxis(part, 0, axis) for part in parts]


def _scattered(group: Group, equation: JaxprEqn, arguments: list) -> list[Rows]:
    """Each shard's part of a sum: the gradient of a gathering."""
    axis = equation.params["scatter_dimension"]
    tiled, shards = equation.params["tiled"], equation.params["axis_size"]

    def own(total):
        if tiled:
            sizes = shards, total.shape[axis] // shards
            total = total.reshape(*total.shape[:axis], *sizes, *total.shape[axis + 1 :])
        parts = jnp.moveaxis(total, axis, 0)
        return packed(lax.dynamic_slice_in_dim(parts, group.first, group.size))

    return [own(total) for total in sums_of_shards(group, arguments)]


def _loop(group: Group, equation: JaxprEqn, arguments: list) -> list[Array | Rows]:
    """A `lax.scan` in whose body the shards exchange."""
    params = equation.params
    start, stop = params["num_consts"], params["num_consts"] + params["num_carry"]
    before, after = plan.varying_in_loop(equation, _are_rows(arguments))
    consts, carry, scanned = arguments[:start], arguments[start:stop], arguments[stop:]

    def body(carry, scanned):
        results = run(group, params["jaxpr"], [*consts, *carry, *scanned])
        results = _as_expected(group, results, after)
        return results[: stop - start], results[stop - start :]

    carry, results = lax.scan(
        body,
        _as_expected(group, carry, before[start:stop]),
        [_of_turns(value) for value in scanned],
        length=params["length"],
        reverse=params["reverse"],
    )
    return [*carry, *[_of_all_turns(value) for value in results]]


def _of_turns(value: Array | Rows) -> Array | Rows:
    """Rows [L, ...] of each shard as rows of each of the L turns of a loop."""
    if not isinstance(value, Rows):
        return value
    return jax.vmap(packed)(jnp.moveaxis(value.unpacked(), 1, 0))


def _of_all_turns(value: Array | Rows) -> Array | Rows:
    """The inverse of `_of_turns`."""
    if not isinstance(value, Rows):
        return value
    return packed(jnp.moveaxis(value.unpacked(), 0, 1))


def _as_expected(
    group: Group, values: Sequence, varies: Sequence[bool]
) -> list[Array | Rows]:
    """Values as `Rows` wherever they are expected to vary."""
    return [
        packed(stacked(group, value)) if wanted and not is_rows else value
        for value, wanted, is_rows in zip(
            values, varies, _are_rows(values), strict=True
        )
    ]


def _branches(group: Group, equation: JaxprEqn, arguments: list) -> list[Array | Rows]:
    """A `lax.switch` in whose branches the shards exchange; all take the same one."""
    index, *operands = arguments
    if isinstance(index, Rows):
        raise NotImplementedError(
            "The shards of a batch exchange in branches of lax.cond or lax.switch, but "
            "may take different ones. Let the condition depend on no image."
        )
    expected = plan.varying_results(equation, _are_rows(arguments))

    def branch(traced):
        return lambda *operands: _as_expected(
            group, run(group, traced, operands), expected
        )

    return lax.switch(
        index, [branch(b) for b in equation.params["branches"]], *operands
    )


_EXCHANGES = {
    plan.SUMS: _sums,
    plan.GATHERS: _gathered,
    plan.SCATTERS: _scattered,
    plan.LOOP: _loop,
    plan.BRANCHES: _branches,
}
