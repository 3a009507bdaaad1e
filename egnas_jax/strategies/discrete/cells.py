"""Writes cells as integers, and turns them into mixings.

In the DARTS family a cell is i32[G, M, 2, 2]: for each kind, node and slot the source
node and the primitive. The two sources of a node differ. In a topology it is i32[E], a
primitive for each edge. Primitives are numbered among those that a cell may have: in
the DARTS family all but `none`, which is never derived.

Dims: G kinds of cells, M nodes, E edges, K primitives, A primitives that are allowed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.evolution.breeding import IntegerGenes
from egnas_jax.evolution.genes import Genes, vector_genes
from egnas_jax.space import Space
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
      allowed: indices of the primitives that a cell may have, in the space's numbering.
    """

    genes: Genes
    integers: IntegerGenes
    to_integers: Callable[[Array], Array]
    from_integers: Callable[[Array], Array]
    to_mixing: Callable[[Array], Mixing]
    allowed: tuple[int, ...]


def cells_of(space: Space, place: str = "uniform") -> Cells:
    """The cells of a space of any family.

    Args:
      space: the space.
      place: where a mutation changes a cell, one of `nasbench201.PLACES`.

    Raises:
      ValueError: the space has no edges of a node to choose from after the node.
    """
    if place == "node_first" and space.family != "topology":
        raise ValueError(
            f"strategy.place is node_first, but the space is {space.name}: it holds "
            f"for NAS-Bench-201 alone. Set it to uniform."
        )
    if space.family == "topology":
        return _topology_cells(space, place)
    return _darts_cells(space)


def _targets(space: Space) -> range:
    """The nodes that edges lead to."""
    return range(space.num_inputs, space.num_inputs + space.num_nodes)


def allowed_primitives(space: Space) -> tuple[int, ...]:
    """Indices of the primitives that a discrete cell may have."""
    everything = range(len(space.primitives))
    if space.family == "topology":
        return tuple(everything)
    return tuple(i for i in everything if space.primitives[i] != "none")


def _topology_cells(space: Space, place: str) -> Cells:
    edges_of_nodes = [
        sum(t == node for _, t in space.edges) for node in _targets(space)
    ]
    groups = edges_of_nodes if place == "node_first" else None
    num_primitives = len(space.primitives)
    (kind,) = space.kinds
    upper = jnp.full((space.num_edges,), num_primitives - 1, jnp.int32)

    def to_mixing(cell: Array) -> Mixing:
        rows = jax.nn.one_hot(cell, num_primitives)
        return Mixing({kind: rows}, {kind: jnp.ones(space.num_edges)})

    return Cells(
        genes=vector_genes(space.num_edges, num_primitives, groups),
        integers=IntegerGenes(upper, repair=lambda vector: vector),
        to_integers=lambda cell: cell,
        from_integers=lambda vector: vector,
        to_mixing=to_mixing,
        allowed=allowed_primitives(space),
    )


def _darts_cells(space: Space) -> Cells:
    allowed = allowed_primitives(space)
    shape = len(space.kinds), space.num_nodes, SLOTS, 2
    num_sources = space.num_inputs + np.arange(space.num_nodes)
    upper = np.zeros(shape, np.int32)
    upper[..., 0] = len(allowed) - 1  # as integers: (primitive, source)
    upper[..., 1] = num_sources[None, :, None] - 1
    flat_upper = jnp.asarray(upper.reshape(-1))

    def random(key: Key) -> Array:
        return _random_cell(key, space, len(allowed))

    def mutate(key: Key, cell: Array) -> Array:
        return _random_mutation(key, space, cell, len(allowed))

    def to_integers(cell: Array) -> Array:
        return cell[..., ::-1].reshape(-1)

    def from_integers(vector: Array) -> Array:
        return vector.reshape(shape)[..., ::-1]

    def repair(vector: Array) -> Array:
        return to_integers(distinct_sources(space, from_integers(vector)))

    return Cells(
        genes=Genes(random, mutate),
        integers=IntegerGenes(flat_upper, repair),
        to_integers=to_integers,
        from_integers=from_integers,
        to_mixing=lambda cell: _darts_mixing(space, cell, allowed),
        allowed=allowed,
    )


def _source_counts(space: Space) -> Array:
    """How many sources each node can have, i32[M]."""
    return jnp.asarray(space.num_inputs + np.arange(space.num_nodes), jnp.int32)


def _random_cell(key: Key, space: Space, num_allowed: int) -> Array:
    """A uniform cell i32[G, M, 2, 2]."""
    key_first, key_second, key_primitive = jax.random.split(key, 3)
    shape = len(space.kinds), space.num_nodes
    counts = jnp.broadcast_to(_source_counts(space)[None, :], shape)
    first = jax.random.randint(key_first, shape, 0, counts)
    # The second is drawn among the others, cyclically from the first.
    shift = jax.random.randint(key_second, shape, 1, counts)
    sources = jnp.stack([first, (first + shift) % counts], axis=-1)
    primitives = jax.random.randint(key_primitive, sources.shape, 0, num_allowed)
    return jnp.stack([sources, primitives], axis=-1)


def _random_mutation(key: Key, space: Space, cell: Array, num_allowed: int) -> Array:
    """Identity rarely, else a new source or a new primitive of one slot."""
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
    return mutated(space, cell, mutation, where, pick=pick, num_allowed=num_allowed)


def mutated(
    space: Space,
    cell: Array,
    mutation: Array,
    where: Array,
    *,
    pick: Array,
    num_allowed: int,
) -> Array:
    """One mutation of a cell, with everything that chance decides given.

    Args:
      space: of the cell.
      cell: i32[G, M, 2, 2].
      mutation: `IDENTITY`, `SOURCE` or `PRIMITIVE`.
      where: kind, node and slot, i32[3].
      pick: takes the (pick mod count)-th of the allowed values in ascending order:
        sources that the node does not use, of which the first node has none and stays
        as it is, or the other primitives.
      num_allowed: A.

    Source: the two mutations of Real et al. (AAAI 2019); that sources stay distinct is
    ours.
    """
    kind, node, slot = where[0], where[1], where[2]
    source, primitive = cell[kind, node, slot]
    sources = jnp.arange(space.num_inputs + space.num_nodes)
    used = cell[kind, node, :, 0]
    free = (sources < space.num_inputs + node) & ~jnp.any(
        sources[:, None] == used[None, :], axis=1
    )
    new_source = jnp.where(jnp.any(free), _pick(free, pick), source)
    others = jnp.arange(num_allowed) != primitive
    new_primitive = _pick(others, pick)
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
    counts = _source_counts(space)[None, :]
    first, second = cell[..., 0, 0], cell[..., 1, 0]
    moved = jnp.where(first == second, (second + 1) % counts, second)
    return cell.at[..., 1, 0].set(moved)


def _darts_mixing(space: Space, cell: Array, allowed: tuple[int, ...]) -> Mixing:
    """Ones at the two edges of each node and at their primitives.

    Edges that the cell lacks count with 0, under the first primitive that is allowed.
    """
    index = edge_index(space)
    sources, numbers = cell[..., 0], cell[..., 1]
    nodes = jnp.arange(space.num_nodes)
    places = index[nodes[:, None], sources].reshape(len(space.kinds), -1)
    chosen = jnp.asarray(allowed, jnp.int32)[numbers].reshape(len(space.kinds), -1)
    primitives, edges = {}, {}
    for row, kind in enumerate(space.kinds):
        choice = jnp.full((space.num_edges,), allowed[0], jnp.int32)
        choice = choice.at[places[row]].set(chosen[row])
        primitives[kind] = jax.nn.one_hot(choice, len(space.primitives))
        edges[kind] = jnp.zeros(space.num_edges).at[places[row]].set(1.0)
    return Mixing(primitives, edges)


def edge_index(space: Space) -> Array:
    """Number of the edge from each source into each node, i32[M, inputs + M]."""
    index = np.zeros((space.num_nodes, space.num_inputs + space.num_nodes), np.int32)
    for edge, (source, target) in enumerate(space.edges):
        index[target - space.num_inputs, source] = edge
    return jnp.asarray(index)
