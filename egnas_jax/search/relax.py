"""Draws alpha, turns it into a mixing, and joins its kinds to a flat vector.

Dims: E edges, K primitives, D = kinds * E * K.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from egnas_jax.space import Space
from egnas_jax.space.mixing_arrays import live_mask
from egnas_jax.types import Array, Key, Mixing


def initial_alpha(key: Key, space: Space) -> dict[str, Array]:
    """Draws the alpha that a search begins with, near zero: cell kind -> f32[E, K].

    Args:
      key: consumed.
      space: of the cells.
    """
    return unflatten(space, 1e-3 * jax.random.normal(key, (space.dim,)))


def softmax_mixing(
    alpha: dict[str, Float[Array, "*P E K"]], space: Space | None = None
) -> Mixing:
    """Applies the relaxation of DARTS: each edge mixes its primitives by a softmax.

    Args:
      alpha: cell kind -> [..., E, K].
      space: of the cells. Primitives that an edge of it lacks, as in `robust_s1`,
        weigh 0. None: every edge has all primitives.

    Returns:
      A mixing with the same leading axes; all edges count fully.

    Source: EG-NAS formula (1).
    """
    rows = live_rows(space, alpha)
    primitives = {kind: jax.nn.softmax(row, axis=-1) for kind, row in rows.items()}
    return unweighted(primitives)


def live_rows(
    space: Space | None,
    rows: dict[str, Float[Array, "*P E K"]],
    *,
    dead: float = -jnp.inf,
) -> dict[str, Array]:
    """Returns rows with a fixed value for the primitives that an edge lacks.

    After -inf their softmax is 0, and so is their gradient.

    Args:
      space: says which edge has which primitives; None: every edge has all.
      rows: cell kind -> [..., E, K]; unchanged where every edge has all primitives.
      dead: the value.
    """
    if space is None or space.live is None:
        return rows
    return {
        kind: jnp.where(live_mask(space, kind), row, dead) for kind, row in rows.items()
    }


def num_live(space: Space | None, kind: str, row: Array) -> int | np.ndarray:
    """Returns how many primitives each edge has: K, or f32[E, 1] where edges differ.

    Args:
      space: see `live_rows`.
      kind: of the cell.
      row: [..., E, K], for the shape.
    """
    if space is None or space.live is None:
        return row.shape[-1]
    return live_mask(space, kind).sum(axis=-1, keepdims=True).astype(np.float32)


def unweighted(primitives: dict[str, Array]) -> Mixing:
    """Returns a mixing whose edges all count fully.

    Args:
      primitives: cell kind -> [..., E, K].
    """
    edges = {kind: jnp.ones_like(rows[..., 0]) for kind, rows in primitives.items()}
    return Mixing(primitives, edges)


def flatten(space: Space, alpha: dict[str, Array]) -> Array:
    """Joins the kinds of an alpha into the vector of an individual.

    The vector has the rows of one kind after the other, in the order of `space.kinds`:
    the entry of kind g, edge e and primitive k is at place (g E + e) K + k.

    Args:
      space: of the cells.
      alpha: cell kind -> [..., E, K].

    Returns:
      [..., D], where D = `space.dim` = kinds E K.
    """
    rows = [alpha[kind] for kind in space.kinds]
    return jnp.concatenate(
        [part.reshape(*part.shape[:-2], -1) for part in rows], axis=-1
    )


def unflatten(space: Space, z: Array) -> dict[str, Array]:
    """Splits the vectors of individuals into kinds; the inverse of `flatten`.

    Args:
      space: of the cells.
      z: [..., D].

    Returns:
      Cell kind -> [..., E, K].
    """
    shape = (*z.shape[:-1], len(space.kinds), space.num_edges, len(space.primitives))
    rows = z.reshape(shape)
    return {kind: rows[..., i, :, :] for i, kind in enumerate(space.kinds)}


def unflatten_like(alpha: dict[str, Array], z: Array) -> dict[str, Array]:
    """Splits a flat vector f32[D] into the kinds and shapes of an alpha.

    JAX flattens dictionaries in the order of their sorted keys, and the kinds of every
    space are sorted too.
    """
    flat, restore = ravel_pytree(alpha)
    if z.shape != flat.shape:
        raise ValueError(
            f"z has shape {z.shape}, but alpha has {flat.size} numbers: pass one "
            f"individual, f32[{flat.size}]."
        )
    return restore(z)
