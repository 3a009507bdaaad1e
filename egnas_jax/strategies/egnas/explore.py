"""Explores around alpha once: populations are drawn and evolved, alpha takes a step.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1. Where paper, report and official
code differ, an option of `EGNASConfig` decides.

Dims: N samples, T generations, P population, E edges, K primitives, D = kinds E K.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import (
    EGNAS,
    Evaluate,
    EvaluatedPopulation,
    EvaluateEach,
    egnas_step_direction,
    evaluate_individuals,
    individual_rows,
)
from egnas_jax.strategies.egnas.raced import race_individuals
from egnas_jax.strategies.egnas.sampling import (
    EGNASState,
    draw_individuals,
    sampling_of,
)
from egnas_jax.strategies.limits.costs import OVER
from egnas_jax.types import Array, Key, PyTree


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


@flax.struct.dataclass
class Exploration:
    """What one exploration evaluated and chose.

    Attributes:
      best: the individual along which alpha stepped.
      sigma: step size that its populations began with, f32[].
      z: every individual, f32[N, T, P, D].
      leaders: the best individual of every sample, leaves [N, ...].
      populations: every population, leaves [N, T, ...].
    """

    best: Best
    sigma: Array
    z: Array
    leaders: Best
    populations: EvaluatedPopulation


def explore(
    method: EGNAS,
    evaluate: Evaluate,
    key: Key,
    state: EGNASState,
    evaluate_each: EvaluateEach | None = None,
) -> tuple[EGNASState, Exploration]:
    """Evolves N samples for T generations; alpha steps along the best individual.

    Args:
      method: space, options and numbers.
      evaluate: evaluates mixings with a leading axis.
      key: of this exploration.
      state: before it; the caller counts the epochs.
      evaluate_each: evaluates mixings on each of some fitness batches, where
        individuals race for them.
    """
    evolution, sigma, centres, starts, keys = sampling_of(method, key, state)
    method = with_eta(method, state)
    if method.config.races:
        score = functools.partial(race_individuals, method, evaluate_each)
    else:
        score = functools.partial(evaluate_individuals, method, evaluate)

    def generation(carry: tuple[PyTree, Best], key: Key):
        es, leader = carry
        z = draw_individuals(method, evolution, key, es, state.alpha)
        population = score(state.alpha, z)
        leader = _better(leader, _winner(z, population), method.config.tie)
        return (evolution.tell(es, z, population.ranking), leader), (z, population)

    def sample(_, scanned: tuple[Array, Array]):
        centre, es, keys = scanned
        zero = jnp.zeros((), jnp.int32)
        batches = zero if method.config.races else None
        nothing = Best(centre, jnp.float32(jnp.inf), zero, zero, batches)
        (es, leader), evaluated = lax.scan(generation, (es, nothing), keys)
        return None, (es if method.config.carries else None, leader, evaluated)

    _, (ends, leaders, (z, populations)) = lax.scan(
        sample, None, (centres, starts, keys)
    )
    n = _best_sample(method, evaluate, leaders)
    best = jax.tree.map(lambda leaf: leaf[n], leaders)
    exploration = Exploration(
        best=best, sigma=sigma, z=z, leaders=leaders, populations=populations
    )
    return _step_alpha(method, state, best).replace(evolutions=ends), exploration


def with_eta(method: EGNAS, state: EGNASState) -> EGNAS:
    """Returns the method with the weight of L2 that its next exploration has.

    Args:
      method: space, options and numbers.
      state: before the exploration.
    """
    if method.config.eta_schedule == "constant":
        return method
    eta = method.hyperparams.eta / (state.updates + 1).astype(jnp.float32)
    return method._replace(hyperparams=method.hyperparams.replace(eta=eta))


def _winner(z: Array, population: EvaluatedPopulation) -> Best:
    fitness, race = population.fitness[population.winner], population.race
    return Best(
        z=z[population.winner],
        fitness=jnp.where(jnp.isnan(fitness), jnp.inf, fitness),
        correct=population.correct[population.winner],
        correct_current=population.correct_current,
        batches=None if race is None else race.batches[population.winner],
    )


def _better(old: Best, new: Best, tie: str) -> Best:
    wins = new.fitness < old.fitness
    if tie == "last":
        wins = new.fitness <= old.fitness
    return jax.tree.map(lambda a, b: jnp.where(wins, b, a), old, new)


def _best_sample(method: EGNAS, evaluate: Evaluate, leaders: Best) -> Array:
    """Index of the sample whose leader becomes s*; ties go to the lower."""
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


def _is_accepted(config: EGNASConfig, best: Best) -> Array:
    """Whether alpha steps along the best individual, bool[]."""
    if config.accept == "better":
        return best.correct > best.correct_current
    return best.correct >= best.correct_current


def _step_alpha(method: EGNAS, state: EGNASState, best: Best) -> EGNASState:
    """Alpha one step further, where it accepts one.

    An exploration whose fitness was all NaN is counted, and is no update.
    """
    finite = jnp.isfinite(best.fitness)
    rows = unflatten(method.space, best.z)
    direction = egnas_step_direction(rows, state.alpha, method.config, method.space)
    momentum, step = method.hyperparams.momentum, method.hyperparams.step
    velocity = jax.tree.map(lambda v, d: momentum * v + d, state.velocity, direction)
    alpha = jax.tree.map(lambda a, v: a + step * v, state.alpha, velocity)
    stepped = state.replace(alpha=alpha, velocity=velocity)
    if method.config.accept != "any":
        accepted = _is_accepted(method.config, best)
        stepped = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), stepped, state)
    new = stepped.replace(updates=state.updates + 1)
    old = state.replace(skipped=state.skipped + 1)
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
