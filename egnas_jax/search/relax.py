"""From alpha to a mixing, and between dictionaries of alphas and flat vectors.

Dims: E edges, K primitives, D = kinds * E * K.
"""

import jax
import jax.numpy as jnp

from egnas_jax.space import Space
from egnas_jax.types import Array, Mixing


def softmax_mixing(alpha: dict[str, Array]) -> Mixing:
    """The relaxation of DARTS: each edge mixes its primitives by a softmax.

    Args:
      alpha: cell kind -> [..., E, K].

    Returns:
      A mixing with the same leading axes; all edges count fully.

    Source: EG-NAS formula (1).
    """
    primitives = {kind: jax.nn.softmax(rows, axis=-1) for kind, rows in alpha.items()}
    return unweighted(primitives)


def unweighted(primitives: dict[str, Array]) -> Mixing:
    """A mixing whose edges all count fully; primitives: cell kind -> [..., E, K]."""
    edges = {kind: jnp.ones_like(rows[..., 0]) for kind, rows in primitives.items()}
    return Mixing(primitives, edges)


def flatten(space: Space, alpha: dict[str, Array]) -> Array:
    """Kinds [..., E, K] as one vector [..., D], in the order of the space's kinds."""
    rows = [alpha[kind] for kind in space.kinds]
    return jnp.concatenate(
        [part.reshape(*part.shape[:-2], -1) for part in rows], axis=-1
    )


def unflatten(space: Space, z: Array) -> dict[str, Array]:
    """Inverse of `flatten`: [..., D] as cell kind -> [..., E, K]."""
    shape = (*z.shape[:-1], len(space.kinds), space.num_edges, len(space.primitives))
    rows = z.reshape(shape)
    return {kind: rows[..., i, :, :] for i, kind in enumerate(space.kinds)}
