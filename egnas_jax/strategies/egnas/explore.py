"""Explores around alpha once: populations are drawn and evolved, alpha takes a step.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1. Where paper, report and official
code differ, an option of `EGNASConfig` decides.

Dims: N samples, T generations, P population, E edges, K primitives, D = kinds E K.
"""

import functools
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.evolution import EVOLUTIONS, Evolution
from egnas_jax.search.relax import flatten, relaxed, unflatten
from egnas_jax.space import Space
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
from egnas_jax.strategies.limits.costs import OVER
from egnas_jax.types import IMPL, Array, Key, PyTree


@flax.struct.dataclass
class EGNASState:
    """What EG-NAS carries.

    Attributes:
      alpha: cell kind -> f32[E, K].
      velocity: of alpha, the same shapes.
      run_key: key data of the run's candidates (used by `candidates="run"`), u32[2].
      epochs: epochs seen, i32[].
      updates: updates of alpha made, i32[].
      skipped: explorations without one finite fitness, i32[].
    """

    alpha: dict[str, Array]
    velocity: dict[str, Array]
    run_key: Array
    epochs: Array
    updates: Array
    skipped: Array


def initial_state(space: Space, key: Key) -> EGNASState:
    """Makes the state before the first epoch, with alpha near zero."""
    key_alpha, key_run = jax.random.split(key)
    alpha = unflatten(space, 1e-3 * jax.random.normal(key_alpha, (space.dim,)))
    zero = jnp.zeros((), jnp.int32)
    return EGNASState(
        alpha=alpha,
        velocity=jax.tree.map(jnp.zeros_like, alpha),
        run_key=jax.random.key_data(key_run),
        epochs=zero,
        updates=zero,
        skipped=zero,
    )


@flax.struct.dataclass
class Best:
    """The best individual of a sample so far.

    Attributes:
      z: f32[D].
      fitness: f32[], inf where it is NaN.
      correct: correctly classified images, i32[].
      batches: on how many fitness batches, i32[], of individuals that race; else None.
    """

    z: Array
    fitness: Array
    correct: Array
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


class _Sampling(NamedTuple):
    """How an exploration draws: the strategy, sigma, centres [N, D], keys [N, T]."""

    evolution: Evolution
    sigma: Array
    centres: Array
    keys: Array


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
    evolution, sigma, centres, keys = _sampling(method, key, state)
    if method.config.races:
        score = functools.partial(race_individuals, method, evaluate_each)
    else:
        score = functools.partial(evaluate_individuals, method, evaluate)

    def generation(carry: tuple[PyTree, Best], key: Key):
        es, leader = carry
        z = evolution.ask(key, es)
        population = score(state.alpha, z)
        leader = _better(leader, _winner(z, population), method.config.tie)
        return (evolution.tell(es, z, population.ranking), leader), (z, population)

    def sample(_, scanned: tuple[Array, Array]):
        centre, keys = scanned
        zero = jnp.zeros((), jnp.int32)
        batches = zero if method.config.races else None
        nothing = Best(centre, jnp.float32(jnp.inf), zero, batches)
        start = evolution.init(centre, sigma), nothing
        (_, leader), evaluated = lax.scan(generation, start, keys)
        return None, (leader, evaluated)

    _, (leaders, (z, populations)) = lax.scan(sample, None, (centres, keys))
    n = _best_sample(method, evaluate, leaders)
    best = jax.tree.map(lambda leaf: leaf[n], leaders)
    exploration = Exploration(
        best=best, sigma=sigma, z=z, leaders=leaders, populations=populations
    )
    return _step_alpha(method, state, best), exploration


def first_generation(method: EGNAS, key: Key, state: EGNASState) -> Array:
    """Draws the individuals that an exploration begins with, f32[N, P, D]."""
    evolution, sigma, centres, keys = _sampling(method, key, state)

    def ask(centre: Array, key: Key) -> Array:
        return evolution.ask(key, evolution.init(centre, sigma))

    return jax.vmap(ask)(centres, keys[:, 0])


def _sampling(method: EGNAS, key: Key, state: EGNASState) -> _Sampling:
    key_centres, key_candidates = jax.random.split(key)
    evolution = EVOLUTIONS[method.config.evolution]
    return _Sampling(
        evolution(method.space.dim, method.config.population),
        _sigma(method, state),
        _centres(method, key_centres, state.alpha),
        candidate_keys(method.config, key_candidates, state),
    )


def _sigma(method: EGNAS, state: EGNASState) -> Array:
    config, hyperparams = method.config, method.hyperparams
    if config.sigma == "constant":
        return jnp.float32(hyperparams.sigma_start)
    count = {"by_update": state.updates, "by_epoch": state.epochs}[config.sigma]
    sigma = hyperparams.sigma_start / (count + 1).astype(jnp.float32)
    return jnp.maximum(sigma, hyperparams.sigma_floor)


def _centres(method: EGNAS, key: Key, alpha: dict[str, Array]) -> Array:
    """m_n of every sample, [N, D]."""
    config, space = method.config, method.space
    rows = alpha if config.centre == "alpha" else relaxed(space, alpha).primitives
    draws = 1 if config.centre_noise == "shared" else config.samples
    noise = jax.random.normal(key, (draws, space.dim))
    return jnp.broadcast_to(
        flatten(space, rows)[None] + method.hyperparams.noise * noise,
        (config.samples, space.dim),
    )


def candidate_keys(config: EGNASConfig, key: Key, state: EGNASState) -> Array:
    """Returns the keys [N, T] of the generations.

    One more sample or generation changes none of the other keys.
    """
    samples, generations = (
        jnp.arange(number, dtype=jnp.uint32)
        for number in (config.samples, config.generations)
    )
    if config.candidates == "constant":
        key = jax.random.key(1, impl=IMPL)
    elif config.candidates == "run":
        key = jax.random.wrap_key_data(state.run_key, impl=IMPL)
    if config.candidates != "fresh":  # the same for all samples
        samples = jnp.zeros_like(samples)

    def fold(n: Array, generation: Array) -> Key:
        return jax.random.fold_in(jax.random.fold_in(key, n), generation)

    over_generations = jax.vmap(fold, in_axes=(None, 0))
    return jax.vmap(over_generations, in_axes=(0, None))(samples, generations)


def _winner(z: Array, population: EvaluatedPopulation) -> Best:
    fitness, race = population.fitness[population.winner], population.race
    return Best(
        z=z[population.winner],
        fitness=jnp.where(jnp.isnan(fitness), jnp.inf, fitness),
        correct=population.correct[population.winner],
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
    scores = evaluate(relaxed(method.space, q))
    # the official code minimises 1 / accuracy and takes 0 for it where nothing is right
    correct = scores.correct.astype(jnp.float32)
    ranked = jnp.where(correct == 0, 0.0, 1.0 / correct)
    if method.excess is not None:
        ranked = jnp.where(leaders.fitness >= OVER, leaders.fitness, ranked)
    return jnp.argmin(ranked)


def _step_alpha(method: EGNAS, state: EGNASState, best: Best) -> EGNASState:
    """Alpha one step further; unchanged, and counted, where all fitness was NaN."""
    finite = jnp.isfinite(best.fitness)
    rows = unflatten(method.space, best.z)
    direction = egnas_step_direction(rows, state.alpha, method.config, method.space)
    momentum, step = method.hyperparams.momentum, method.hyperparams.step
    velocity = jax.tree.map(lambda v, d: momentum * v + d, state.velocity, direction)
    alpha = jax.tree.map(lambda a, v: a + step * v, state.alpha, velocity)
    new = state.replace(alpha=alpha, velocity=velocity, updates=state.updates + 1)
    old = state.replace(skipped=state.skipped + 1)
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
