"""Finds what other weights of the fitness would choose from the same evaluations.

Cross entropy, accuracy and similarity do not depend on zeta and eta, so one evaluation
of a population serves every pair of them. The winner depends on zeta / eta alone, so
some of the 16 pairs are the same choice.

Source: the grid of Table 1 of the reproduction study (docs/egnas.md).

Dims: P population.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.evolution.shaping import best
from egnas_jax.strategies.egnas.evaluation import EvaluatedPopulation
from egnas_jax.strategies.egnas.fitness import compound_fitness
from egnas_jax.types import Array

WEIGHTS = (1.0, 0.8, 0.4, 0.2)  # of zeta and of eta
PAIRS = tuple(itertools.product(WEIGHTS, WEIGHTS))  # eta varies fastest


def ratio(pair: tuple[float, float]) -> float:
    """Returns zeta / eta, equal for pairs that order all individuals alike."""
    zeta, eta = pair
    return round(zeta / eta, 9)  # 0.8 / 0.4 is 0.4 / 0.2


def winners(population: EvaluatedPopulation, sign: str, tie: str) -> Array:
    """Returns the winner of one population by each of `PAIRS`, i32[16].

    Args:
      population: with leaves [P] or [].
      sign, tie: options of the run, see `EGNASConfig`.
    """

    def winner(zeta: float, eta: float) -> Array:
        fitness = compound_fitness(
            population.cross_entropy,
            population.correct,
            population.similarity,
            correct_current=population.correct_current,
            zeta=zeta,
            eta=eta,
            sign=sign,
        )
        return best(fitness, tie)

    return jnp.stack([winner(zeta, eta) for zeta, eta in PAIRS])


def grid_metrics(
    populations: EvaluatedPopulation, sign: str, tie: str
) -> dict[str, Array]:
    """Returns what is recorded of one exploration with its C = N T populations.

    Args:
      populations: every population, leaves [N, T, ...].
      sign, tie: options of the run, see `EGNASConfig`.

    Returns:
      "grid_chosen": the individual that each pair of weights chooses, i32[C, 16];
      "grid_own": the one that the run's own weights chose, i32[C]. Both in the order
      in which the populations were evaluated.
    """
    over_populations = jax.vmap(
        jax.vmap(functools.partial(winners, sign=sign, tie=tie))
    )
    chosen = over_populations(populations)
    return {
        "grid_chosen": chosen.reshape(-1, chosen.shape[-1]).astype(jnp.int32),
        "grid_own": populations.winner.reshape(-1).astype(jnp.int32),
    }


def no_grid_metrics(populations: int) -> dict[str, Array]:
    """Returns the metrics of an epoch without an exploration: -1 for no individual."""
    return {
        "grid_chosen": jnp.full((populations, len(PAIRS)), -1, jnp.int32),
        "grid_own": jnp.full((populations,), -1, jnp.int32),
    }


def agreement(chosen: np.ndarray) -> np.ndarray:
    """Returns how often two pairs of weights choose the same individual.

    Args:
      chosen: rows of "grid_chosen", of at least one evaluated population, ints [C, 16].

    Returns:
      Fractions of the populations, f64[16, 16], symmetric, 1 on the diagonal.
    """
    return np.mean(chosen[:, :, None] == chosen[:, None, :], axis=0)
