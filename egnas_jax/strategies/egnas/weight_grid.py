"""What other weights of the fitness would have chosen, from the same forward passes.

Cross entropy, accuracy and similarity do not depend on zeta and eta, so one evaluation
of a population serves every pair of them. The winner depends on zeta / eta alone, so
some of the 16 pairs are the same choice.

Source: the grid of Table 1 of the report this project implements.

Dims: P population.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.strategies.egnas.evaluation import EvaluatedPopulation, best
from egnas_jax.strategies.egnas.fitness import compound_fitness
from egnas_jax.types import Array

WEIGHTS = (1.0, 0.8, 0.4, 0.2)  # of zeta and of eta
PAIRS = tuple(itertools.product(WEIGHTS, WEIGHTS))  # eta varies fastest


def ratio(pair: tuple[float, float]) -> float:
    """zeta / eta, equal for pairs of weights that order all individuals alike."""
    zeta, eta = pair
    return round(zeta / eta, 9)  # 0.8 / 0.4 is 0.4 / 0.2


def winners(evaluated: EvaluatedPopulation, sign: str, tie: str) -> Array:
    """Who wins one population by each of `PAIRS`, i32[16]."""
    return jnp.stack(
        [
            best(
                compound_fitness(
                    evaluated.cross_entropy,
                    evaluated.correct,
                    evaluated.similarity,
                    correct_current=evaluated.correct_current,
                    zeta=zeta,
                    eta=eta,
                    sign=sign,
                ),
                tie,
            )
            for zeta, eta in PAIRS
        ]
    )


def figures(evaluated: EvaluatedPopulation, sign: str, tie: str) -> dict[str, Array]:
    """What is recorded of one exploration; C populations in the order of their pricing.

    Args:
      evaluated: every population, leaves [N, T, ...]; C = N T.
      sign, tie: of the run.

    Returns:
      "grid_chosen": the individual that each pair of weights chooses, i32[C, 16];
      "grid_own": the one that the run's own weights chose, i32[C].
    """
    chosen = jax.vmap(jax.vmap(functools.partial(winners, sign=sign, tie=tie)))(
        evaluated
    )
    return {
        "grid_chosen": chosen.reshape(-1, chosen.shape[-1]).astype(jnp.int32),
        "grid_own": evaluated.winner.reshape(-1).astype(jnp.int32),
    }


def no_figures(populations: int) -> dict[str, Array]:
    """`figures` where nothing was explored: -1 is nobody."""
    return {
        "grid_chosen": jnp.full((populations, len(PAIRS)), -1, jnp.int32),
        "grid_own": jnp.full((populations,), -1, jnp.int32),
    }


def agreement(chosen: np.ndarray) -> np.ndarray:
    """How often every two pairs of weights choose the same individual of a population.

    Args:
      chosen: rows of "grid_chosen", of at least one population that was explored,
        ints [C, 16].

    Returns:
      Fractions of the populations, f64[16, 16], symmetric, 1 on the diagonal.
    """
    return np.mean(chosen[:, :, None] == chosen[:, None, :], axis=0)
