"""Ranks fitness, and finds the best. Lower is better.

NaN counts as +inf and so ranks last. Of equal values the lower index comes first,
except where `best` is asked for the last.

Dims: P population.
"""

import jax.numpy as jnp

from egnas_jax.types import Array


def rankable(fitness: Array) -> Array:
    """The fitness, of any shape, with infinity for NaN, so that NaN ranks last."""
    return jnp.where(jnp.isnan(fitness), jnp.inf, fitness)


def best(fitness: Array, tie: str = "first") -> Array:
    """The index of the least fitness f32[P], i32[]; of equals the "first" or "last"."""
    ranked = rankable(fitness)
    if tie == "first":
        return jnp.argmin(ranked)
    return len(fitness) - 1 - jnp.argmin(ranked[::-1])


def order(fitness: Array) -> Array:
    """Indices that sort fitness f32[P] from best to worst, i32[P]."""
    return jnp.argsort(rankable(fitness), stable=True)


def ranks(fitness: Array) -> Array:
    """The rank of each individual by fitness f32[P]: 0 best, P - 1 worst, i32[P]."""
    return ranks_of_order(order(fitness))


def ranks_of_order(best_first: Array) -> Array:
    """The rank of each individual, i32[P], of indices that sort them, i32[P]."""
    positions = jnp.arange(len(best_first), dtype=jnp.int32)
    return jnp.zeros_like(positions).at[best_first].set(positions)


def centred_ranks(fitness: Array) -> Array:
    """Ranks of fitness f32[P], scaled to [-0.5, 0.5]: -0.5 is the best. Their sum is 0.

    Source: Salimans et al. (2017), arXiv 1703.03864, section 2.1 (fitness shaping).
    """
    return ranks(fitness).astype(jnp.float32) / (fitness.shape[0] - 1) - 0.5
