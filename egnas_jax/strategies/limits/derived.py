"""Derives cells in compiled code, as one-hot mixings.

Dims: E edges of a cell, K primitives of an edge.
"""

import jax
import jax.numpy as jnp

from egnas_jax.space import Space
from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.types import Array, Mixing


def in_edges(space: Space) -> list[tuple[int, ...]]:
    """Returns the edges that lead to each node, by ascending source."""
    return [space.in_edges(node) for node in space.nodes]


def derived_mixing(space: Space, mixing: Mixing) -> Mixing:
    """Returns the cell that the rule of a space derives, in compiled code.

    Args:
      space: of the cells, which are derived by a rule and not by a function.
      mixing: weights of primitives [E, K] and of edges [E] of each kind.

    Returns:
      One-hot rows of primitives, and ones at the edges that the cell has.
    """
    primitives, edges = {}, {}
    for kind, allowed in zip(space.kinds, derivable_masks(space), strict=True):
        rows = mixing.primitives[kind]
        if space.keeps_two_edges:
            rows = rows * mixing.edges[kind][:, None]
        rows = jnp.where(jnp.asarray(allowed), rows, -jnp.inf)
        primitives[kind] = jax.nn.one_hot(jnp.argmax(rows, axis=1), rows.shape[1])
        edges[kind] = jnp.ones(space.num_edges)
        if space.keeps_two_edges:
            edges[kind] = _two_strongest(space, jnp.max(rows, axis=1))
    return Mixing(primitives, edges)


def _two_strongest(space: Space, strength: Array) -> Array:
    """Ones at the two strongest edges of each node, of equal ones the first, f32[E]."""
    kept = jnp.zeros(space.num_edges)
    for rows in in_edges(space):
        order = jnp.argsort(-strength[jnp.asarray(rows)], stable=True)[:2]
        kept = kept.at[jnp.asarray(rows)[order]].set(1.0)
    return kept
