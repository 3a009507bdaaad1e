"""Writes cells as integers, and turns them into mixings.

Where a derivation keeps two edges of a node, a cell is i32[G, M, 2, 2]: for each kind,
node and slot the edge, as its position among the in-edges of the node, and the
primitive. In a complete graph that position is the source node. The two edges of a node
differ. Otherwise a cell is i32[G E], a primitive for each edge. Primitives are numbered
among those that the edge of a derived cell may have, so `none` has no number where it
is never derived. Edges may have different numbers of primitives. The number of a
primitive is then below the count of its own edge. If a slot moves to an edge with fewer
primitives, its number is taken modulo that count.

Dims: G kinds of cells, M nodes, E edges, K primitives, A primitives that an edge may
have at most, D integers of a cell.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.evolution.breeding import IntegerGenes
from egnas_jax.evolution.genes import Genes, vector_genes
from egnas_jax.space import Space
from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.types import Array, Key, Mixing

SLOTS = 2  # edges that a node keeps
IDENTITY, SOURCE, PRIMITIVE = 0, 1, 2
IDENTITY_SHARE = 0.05  # of mutations that change nothing, as AmoebaNet has them


class Cells(NamedTuple):
    """The cells of a space as integers.

    Attributes:
      genes: how a cell is drawn and mutated.
      integers: the same cells as flat vectors, for operators on integers.
      to_integers: (cell) -> i32[D].
      from_integers: (i32[D]) -> cell.
      to_mixing: (cell) -> Mixing, one-hot rows of E edges and K primitives.
      allowed: the primitive that each number of each edge stands for, by its position
        in the space, int[G, E, A]; numbers beyond those of an edge repeat the first.
      counts: how many numbers each edge has, int[G, E].
    """

    genes: Genes
    integers: IntegerGenes
    to_integers: Callable[[Array], Array]
    from_integers: Callable[[Array], Array]
    to_mixing: Callable[[Array], Mixing]
    allowed: np.ndarray
    counts: np.ndarray

    @property
    def unequal(self) -> np.ndarray | None:
        """The counts, if edges have different numbers of primitives.

        None if all have A.
        """
        return None if _are_equal(self.counts) else self.counts


def cells_of(space: Space, place: str = "uniform") -> Cells:
    """The cells of a space as its derivation makes them.

    Args:
      space: the space.
      place: where a mutation changes a cell, one of `nasbench201.PLACES`.

    Raises:
      ValueError: the place is an edge of a node, and nodes keep two edges.
    """
    if not space.keeps_two_edges:
        return _cells_of_all_edges(space, place)
    if place == "node_first":
        raise ValueError(
            f"strategy.place is node_first, but the space is {space.name}, whose "
            f"nodes keep two edges: it holds for spaces whose cells keep all, such as "
            f"nasbench201. Set it to uniform."
        )
    return _cells_of_two_edges(space)


def primitive_table(space: Space) -> np.ndarray:
    """The primitive that each number of each edge stands for, int[G, E, A]."""
    rows = [[np.flatnonzero(row) for row in mask] for mask in derivable_masks(space)]
    largest = max(len(row) for edges in rows for row in edges)
    return np.array([[np.resize(row, largest) for row in edges] for edges in rows])


def num_primitives(space: Space) -> np.ndarray:
    """How many primitives each edge of a derived cell may have, int[G, E]."""
    return derivable_masks(space).sum(axis=-1)


def _are_equal(counts: np.ndarray) -> bool:
    return counts.min() == counts.max()


def _cells_of_all_edges(space: Space, place: str) -> Cells:
    groups = [len(space.in_edges(node)) for node in space.nodes] * len(space.kinds)
    allowed, counts = primitive_table(space), num_primitives(space)
    num_choices = counts.reshape(-1)
    upper = jnp.asarray(num_choices - 1, jnp.int32)

    def to_mixing(cell: Array) -> Mixing:
        numbers = cell.reshape(len(space.kinds), space.num_edges)
        chosen = _primitives_at(allowed, numbers)
        rows = jax.nn.one_hot(chosen, len(space.primitives))
        primitives = dict(zip(space.kinds, rows, strict=True))
        return Mixing(
            primitives, {kind: jnp.ones(space.num_edges) for kind in space.kinds}
        )

    return Cells(
        genes=vector_genes(
            len(num_choices),
            num_choices.tolist(),
            groups if place == "node_first" else None,
        ),
        integers=IntegerGenes(upper, repair=lambda vector: vector),
        to_integers=lambda cell: cell,
        from_integers=lambda vector: vector,
        to_mixing=to_mixing,
        allowed=allowed,
        counts=counts,
    )


def _primitives_at(allowed: np.ndarray, numbers: Array) -> Array:
    """The primitives i32[G, E] of the numbers of all edges, i32[G, E]."""
    table = jnp.asarray(allowed, jnp.int32)
    return jnp.take_along_axis(table, numbers[..., None], axis=-1)[..., 0]


def _cells_of_two_edges(space: Space) -> Cells:
    allowed, counts = primitive_table(space), num_primitives(space)
    counts_by_source = jnp.asarray(counts, jnp.int32)[:, edge_index(space)]
    shape = len(space.kinds), space.num_nodes, SLOTS, 2
    upper = np.zeros(shape, np.int32)
    upper[..., 0] = allowed.shape[-1] - 1  # as integers: (primitive, edge)
    upper[..., 1] = _num_in_edges(space)[None, :, None] - 1
    flat_upper = jnp.asarray(upper.reshape(-1))

    def random(key: Key) -> Array:
        return _random_cell(key, space, counts_by_source)

    def mutate(key: Key, cell: Array) -> Array:
        num_allowed = _counts_at(counts_by_source, cell[..., 0])
        return within(_random_mutation(key, space, cell, num_allowed))

    def within(cell: Array) -> Array:
        num_allowed = _counts_at(counts_by_source, cell[..., 0])
        return cell.at[..., 1].set(cell[..., 1] % num_allowed)

    def to_integers(cell: Array) -> Array:
        return cell[..., ::-1].reshape(-1)

    def from_integers(vector: Array) -> Array:
        return vector.reshape(shape)[..., ::-1]

    def repair(vector: Array) -> Array:
        return to_integers(within(distinct_sources(space, from_integers(vector))))

    def random_integers(key: Key) -> Array:
        return to_integers(random(key))

    # A repair takes numbers modulo the count of their edge, which favours the first
    # primitives of an edge with few of them.
    draw = None if _are_equal(counts) else random_integers
    return Cells(
        genes=Genes(random, mutate),
        integers=IntegerGenes(flat_upper, repair, draw),
        to_integers=to_integers,
        from_integers=from_integers,
        to_mixing=lambda cell: _two_edges_mixing(space, cell, allowed),
        allowed=allowed,
        counts=counts,
    )


def _counts_at(counts_by_source: Array, sources: Array) -> Array:
    """How many primitives the edges of a cell have, i32[G, M, 2].

    Args:
      counts_by_source: those of each position among the in-edges of a node,
        i32[G, M, most].
      sources: the positions of the cell, i32[G, M, 2].
    """
    return jnp.take_along_axis(counts_by_source, sources, axis=-1)


def _num_in_edges(space: Space) -> np.ndarray:
    """How many edges lead to each node, i32[M]."""
    numbers = [len(space.in_edges(node)) for node in space.nodes]
    return np.asarray(numbers, np.int32)


def _random_cell(key: Key, space: Space, counts_by_source: Array) -> Array:
    """A uniform cell i32[G, M, 2, 2]; see `_counts_at` for `counts_by_source`."""
    key_first, key_second, key_primitive = jax.random.split(key, 3)
    shape = len(space.kinds), space.num_nodes
    counts = jnp.broadcast_to(jnp.asarray(_num_in_edges(space))[None, :], shape)
    first = jax.random.randint(key_first, shape, 0, counts)
    # The second is drawn among the others, cyclically from the first.
    shift = jax.random.randint(key_second, shape, 1, counts)
    sources = jnp.stack([first, (first + shift) % counts], axis=-1)
    num_allowed = _counts_at(counts_by_source, sources)
    primitives = jax.random.randint(key_primitive, sources.shape, 0, num_allowed)
    return jnp.stack([sources, primitives], axis=-1)


def _random_mutation(key: Key, space: Space, cell: Array, num_allowed: Array) -> Array:
    """Identity rarely, else a new source or a new primitive of one slot.

    `num_allowed` is how many primitives the edges of the cell have, i32[G, M, 2].
    """
    keys = jax.random.split(key, 6)
    share = (1.0 - IDENTITY_SHARE) / 2
    mutation = jax.random.choice(
        keys[0], 3, p=jnp.asarray([IDENTITY_SHARE, share, share])
    )
    where = jnp.stack(
        [
            jax.random.randint(keys[1], (), 0, len(space.kinds)),
            jax.random.randint(keys[2], (), 0, space.num_nodes),
            jax.random.randint(keys[3], (), 0, SLOTS),
        ]
    )
    pick = jax.random.randint(keys[4], (), 0, 2**30)
    at_slot = num_allowed[where[0], where[1], where[2]]
    return mutated(space, cell, mutation, where, pick=pick, num_allowed=at_slot)


def mutated(
    space: Space,
    cell: Array,
    mutation: Array,
    where: Array,
    *,
    pick: Array,
    num_allowed: Array | int,
) -> Array:
    """One mutation of a cell, with everything that chance decides given.

    Args:
      space: of the cell.
      cell: i32[G, M, 2, 2].
      mutation: `IDENTITY`, `SOURCE` or `PRIMITIVE`.
      where: kind, node and slot, i32[3].
      pick: takes the (pick mod count)-th of the allowed values in ascending order:
        edges that the node does not use, of which a node with two in-edges has none
        and stays as it is, or the other primitives, of which an edge with one has none.
      num_allowed: the number of primitives of the edge, i32[].

    Source: the two mutations of Real et al. (AAAI 2019); that sources stay distinct is
    ours.
    """
    kind, node, slot = where[0], where[1], where[2]
    source, primitive = cell[kind, node, slot]
    numbers = _num_in_edges(space)
    sources = jnp.arange(int(numbers.max()))
    used = cell[kind, node, :, 0]
    free = (sources < jnp.asarray(numbers)[node]) & ~jnp.any(
        sources[:, None] == used[None, :], axis=1
    )
    new_source = jnp.where(jnp.any(free), _pick(free, pick), source)
    # the pick-th of the others, in ascending order
    other = pick % jnp.maximum(num_allowed - 1, 1)
    other += (other >= primitive).astype(jnp.int32)
    new_primitive = jnp.minimum(other, num_allowed - 1)
    value = jnp.stack(
        [
            jnp.where(mutation == SOURCE, new_source, source),
            jnp.where(mutation == PRIMITIVE, new_primitive, primitive),
        ]
    )
    return cell.at[kind, node, slot].set(value)


def _pick(allowed: Array, pick: Array) -> Array:
    """Index of the (pick mod count)-th True, i32[]."""
    number = jnp.sum(allowed)
    place = jnp.cumsum(allowed) - 1
    wanted = pick % jnp.maximum(number, 1)
    return jnp.argmax(allowed & (place == wanted)).astype(jnp.int32)


def distinct_sources(space: Space, cell: Array) -> Array:
    """The cell with the second source of a node moved to the next where both equal."""
    counts = jnp.asarray(_num_in_edges(space))[None, :]
    first, second = cell[..., 0, 0], cell[..., 1, 0]
    distinct = jnp.where(first == second, (second + 1) % counts, second)
    return cell.at[..., 1, 0].set(distinct)


def _two_edges_mixing(space: Space, cell: Array, allowed: np.ndarray) -> Mixing:
    """Ones at the two edges of each node and at their primitives.

    Edges that the cell lacks count with 0, under the first primitive that is allowed.
    """
    index = edge_index(space)
    sources, numbers = cell[..., 0], cell[..., 1]
    nodes = jnp.arange(space.num_nodes)
    places = index[nodes[:, None], sources].reshape(len(space.kinds), -1)
    numbers = numbers.reshape(len(space.kinds), -1)
    primitives, edges = {}, {}
    for row, kind in enumerate(space.kinds):
        table = jnp.asarray(allowed[row], jnp.int32)
        chosen = table[places[row], numbers[row]]
        choice = table[:, 0].at[places[row]].set(chosen)
        primitives[kind] = jax.nn.one_hot(choice, len(space.primitives))
        edges[kind] = jnp.zeros(space.num_edges).at[places[row]].set(1.0)
    return Mixing(primitives, edges)


def edge_index(space: Space) -> Array:
    """The edge at each position among the in-edges of each node, i32[M, most]."""
    index = np.zeros((space.num_nodes, _num_in_edges(space).max()), np.int32)
    for node, target in enumerate(space.nodes):
        edges = space.in_edges(target)
        index[node, : len(edges)] = edges
    return jnp.asarray(index)
