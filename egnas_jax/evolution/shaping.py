"""From fitness to order: all that the strategies read of it. Lower is better.

NaN counts as +inf and so ranks last; of equal values the lower index comes first.
Dims: P population.
"""

import jax.numpy as jnp

from egnas_jax.types import Array


def order(fitness: Array) -> Array:
    """Indices that sort fitness f32[P] from best to worst, i32[P]."""
    return jnp.argsort(jnp.where(jnp.isnan(fitness), jnp.inf, fitness), stable=True)


def ranks(fitness: Array) -> Array:
    """Place of each individual of f32[P], i32[P]: 0 is the best, P - 1 the worst."""
    places = jnp.arange(fitness.shape[0], dtype=jnp.int32)
    return jnp.zeros_like(places).at[order(fitness)].set(places)


def centred_ranks(fitness: Array) -> Array:
    """Ranks of f32[P] spread evenly over [-0.5, 0.5]: -0.5 is the best, their sum 0.

    Source: Salimans et al. (2017), arXiv 1703.03864, section 2.1 (fitness shaping).
    """
    return ranks(fitness).astype(jnp.float32) / (fitness.shape[0] - 1) - 0.5
