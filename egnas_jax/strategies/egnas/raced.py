"""Races the individuals of a population of EG-NAS for fitness batches.

Alpha is evaluated on every batch beside them and never drops out, so that its correct
answers and those of an individual are of the same images. `search.racing` has the
sources.

Dims: P population, p individuals of a round, M batches, D = kinds E K.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from egnas_jax.search.racing import Contest, num_evaluations, race
from egnas_jax.search.relax import unflatten
from egnas_jax.strategies.egnas.evaluation import (
    EvaluatedPopulation,
    EvaluateEach,
    RaceOfPopulation,
)
from egnas_jax.strategies.egnas.fitness import compound_fitness
from egnas_jax.strategies.egnas.individuals import (
    derived_cells,
    mixings_beside_alpha,
    similarities,
)
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.limits.costs import limited_fitness
from egnas_jax.types import Array, Mixing


def race_individuals(
    method: EGNAS, evaluate_each: EvaluateEach, alpha: dict[str, Array], z: Array
) -> EvaluatedPopulation:
    """Computes the fitness of a population whose individuals race for batches.

    Args:
      method: space, options and numbers.
      evaluate_each: evaluates mixings on each of some of the M batches.
      alpha: cell kind -> [E, K].
      z: individuals, f32[P, D].
    """
    config, plan = method.config, method.config.race_plan
    rows = unflatten(method.space, z)
    mixings = mixings_beside_alpha(method, alpha, rows)
    similarity = similarities(method, alpha, rows)
    contest = Contest(
        functools.partial(_scores, evaluate_each, mixings),
        _fitness_fn(method, rows, similarity),
    )
    raced = race(contest, plan, reliability=config.race.reliability, tie=config.tie)
    batches = raced.batches.astype(jnp.float32)
    spent = [num_evaluations(plan[:n], companions=1) for n in range(len(plan) + 1)]
    return EvaluatedPopulation(
        cross_entropy=jnp.sum(raced.scores["loss"], axis=0) / batches,
        correct=jnp.sum(raced.scores["correct"], axis=0),
        correct_current=jnp.sum(raced.reference),
        similarity=similarity,
        fitness=raced.fitness,
        winner=raced.order[0],
        race=RaceOfPopulation(
            rank=raced.rank,
            batches=raced.batches,
            evaluations=jnp.asarray(spent, jnp.int32)[raced.rounds],
            rounds=raced.rounds,
        ),
    )


def _scores(
    evaluate_each: EvaluateEach, mixings: Mixing, places: Array, batches: slice
) -> tuple[dict[str, Array], Array]:
    """Scores of individuals, leaves [b, p], and correct answers of alpha, i32[b]."""
    chosen = jnp.concatenate([jnp.zeros((1,), places.dtype), places + 1])
    scores = evaluate_each(jax.tree.map(lambda leaf: leaf[chosen], mixings), batches)
    individuals = {"loss": scores.loss[:, 1:], "correct": scores.correct[:, 1:]}
    return individuals, scores.correct[:, 0]


def _fitness_fn(
    method: EGNAS, rows: dict[str, Array], similarity: Array
) -> Callable[[dict[str, Array], Array, Array], Array]:
    """The compound fitness over several batches, as `Contest` asks for it."""
    sign, hyperparams = method.config.sign, method.hyperparams
    if sign == "centred":  # by the mean of all individuals, not of those of a round
        sign, similarity = "paper", similarity - jnp.mean(similarity)
    if method.excess is not None:
        cells = derived_cells(method.space, rows)

    def fitness(scores: dict[str, Array], reference: Array, places: Array) -> Array:
        value = compound_fitness(
            jnp.mean(scores["loss"], axis=0),
            jnp.sum(scores["correct"], axis=0),
            similarity[places],
            correct_current=jnp.sum(reference),
            zeta=hyperparams.zeta,
            eta=hyperparams.eta,
            sign=sign,
        )
        if method.excess is None:
            return value
        raced = jax.tree.map(lambda leaf: leaf[places], cells)
        return limited_fitness(value, raced, method.excess)

    return fitness
