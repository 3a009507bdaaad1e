"""Finds the best individual of a sample, and the sample along whose best alpha steps.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1, line 13. Where paper, report and
official code differ, an option of `EGNASConfig` decides.

Dims: N samples, P population, D = kinds E K of E edges, K primitives.
"""

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.evolution.shaping import rankable
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.strategies.egnas.evaluation import Evaluate, EvaluatedPopulation
from egnas_jax.strategies.egnas.individuals import individual_rows
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.limits.costs import OVER
from egnas_jax.types import Array


@flax.struct.dataclass
class Best:
    """The best individual of a sample so far.

    Attributes:
      z: f32[D].
      fitness: f32[], inf where it is NaN.
      correct: correctly classified images, i32[].
      correct_current: those of alpha on the same images, i32[].
      batches: on how many fitness batches, i32[], of individuals that race; else None.
    """

    z: Array
    fitness: Array
    correct: Array
    correct_current: Array
    batches: Array | None = None


def winner_of(z: Array, population: EvaluatedPopulation) -> Best:
    """The best individual of a population.

    Args:
      z: its individuals, f32[P, D].
      population: their fitness.
    """
    fitness, race = population.fitness[population.winner], population.race
    return Best(
        z=z[population.winner],
        fitness=rankable(fitness),
        correct=population.correct[population.winner],
        correct_current=population.correct_current,
        batches=None if race is None else race.batches[population.winner],
    )


def better(old: Best, new: Best, tie: str) -> Best:
    """The better of two individuals; of equals the "first" (old) or the "last"."""
    wins = new.fitness < old.fitness
    if tie == "last":
        wins = new.fitness <= old.fitness
    return jax.tree.map(lambda a, b: jnp.where(wins, b, a), old, new)


def best_sample(method: EGNAS, evaluate: Evaluate, leaders: Best) -> Array:
    """Index of the sample along whose leader alpha steps, i32[]; ties go to the lower.

    Args:
      method: space, options and numbers.
      evaluate: evaluates mixings with a leading axis.
      leaders: the best individual of every sample, leaves [N, ...].
    """
    if method.config.best_sample == "fitness":
        return jnp.argmin(leaders.fitness)
    rows = unflatten(method.space, leaders.z)
    q = individual_rows(rows, method.config, method.space)
    scores = evaluate(softmax_mixing(q, method.space))
    # the official code minimises 1 / accuracy and takes 0 for it where nothing is right
    correct = scores.correct.astype(jnp.float32)
    ranked = jnp.where(correct == 0, 0.0, 1.0 / correct)
    if method.excess is not None:
        ranked = jnp.where(leaders.fitness >= OVER, leaders.fitness, ranked)
    # a leader without a fitness has no correct answers, which would beat all
    return jnp.argmin(jnp.where(jnp.isfinite(leaders.fitness), ranked, jnp.inf))
