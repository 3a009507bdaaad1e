"""What other weights of the fitness would have chosen, from the same forward passes.

Cross entropy, accuracy and similarity do not depend on zeta and eta, so a population
that was priced once is priced for every pair of them.

Source: the grid of Table 1 of the report this project implements.

Dims: P population.
"""

import itertools

import jax.numpy as jnp

from egnas_jax.search.fitness import compound_fitness
from egnas_jax.strategies.egnas_price import Priced, best
from egnas_jax.types import Array

WEIGHTS = (1.0, 0.8, 0.4, 0.2)  # of zeta and of eta


def winners(priced: Priced, sign: str, tie: str) -> Array:
    """Who wins one population by each pair of weights, i32[16]; eta varies fastest."""
    return jnp.stack([
        best(
            compound_fitness(
                priced.cross_entropy, priced.correct, priced.similarity,
                correct_current=priced.correct_current, zeta=zeta, eta=eta, sign=sign,
            ),
            tie,
        )
        for zeta, eta in itertools.product(WEIGHTS, WEIGHTS)
    ])  # fmt: skip


def names() -> list[str]:
    """Of the figures below."""
    pairs = itertools.product(WEIGHTS, WEIGHTS)
    return [*(f"grid_{zeta}_{eta}" for zeta, eta in pairs), "grid_distinct"]


def figures(chosen: Array, own: Array) -> dict[str, Array]:
    """How often the pairs of weights agree, over some populations.

    Args:
      chosen: `winners` of each population, i32[..., 16].
      own: the individual that the run's own weights chose, i32[...].

    Returns:
      "grid_ZETA_ETA": share of the populations in which that pair chooses what the run
      did, f32[]; "grid_distinct": individuals that some pair chooses, the mean over
      populations, f32[].
    """
    same = (chosen == own[..., None]).reshape(-1, chosen.shape[-1])
    shares = jnp.mean(same.astype(jnp.float32), axis=0)
    ordered = jnp.sort(chosen, axis=-1)
    distinct = 1 + jnp.sum(ordered[..., 1:] != ordered[..., :-1], axis=-1)
    values = [*shares, jnp.mean(distinct.astype(jnp.float32))]
    return dict(zip(names(), values, strict=True))
