"""One exploration of EG-NAS: populations are drawn and evolved, alpha takes a step.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1. Where paper, report and reference
code differ, an option of `EGNASConfig` decides.

Dims: N samples, T generations, P population, E edges, K primitives, D = kinds E K.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.evolution import EVOLUTIONS, Evolution
from egnas_jax.search.relax import flatten, softmax_mixing, unflatten
from egnas_jax.space import Space
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import (
    Evaluate,
    EvaluatedPopulation,
    candidate_rows,
    direction,
    evaluate_individuals,
)
from egnas_jax.types import IMPL, Array, Key


class EGNASState(NamedTuple):
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
    """Alpha near zero, nothing seen."""
    key_alpha, key_run = jax.random.split(key)
    start = unflatten(space, 1e-3 * jax.random.normal(key_alpha, (space.dim,)))
    zero = jnp.zeros((), jnp.int32)
    still = jax.tree.map(jnp.zeros_like, start)
    run_key = jax.random.key_data(key_run)
    return EGNASState(start, still, run_key, zero, zero, zero)


def _sigma(config: EGNASConfig, state: EGNASState) -> Array:
    count = {"by_update": state.updates, "by_epoch": state.epochs}
    if config.sigma == "constant":
        return jnp.float32(config.sigma_start)
    sigma = config.sigma_start / (count[config.sigma] + 1).astype(jnp.float32)
    return jnp.maximum(sigma, config.sigma_floor)


def _centres(config: EGNASConfig, space, key: Key, alpha) -> Array:
    """m_n of every sample, [N, D]."""
    rows = alpha if config.centre == "alpha" else softmax_mixing(alpha).primitives
    draws = 1 if config.centre_noise == "shared" else config.samples
    noise = config.noise * jax.random.normal(key, (draws, space.dim))
    return jnp.broadcast_to(
        flatten(space, rows)[None] + noise, (config.samples, space.dim)
    )


def _candidate_keys(config: EGNASConfig, key: Key, state: EGNASState) -> Array:
    """Keys [N, T] of the generations; one more of either changes none of the others."""
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

    def one(n, generation):
        return jax.random.fold_in(jax.random.fold_in(key, n), generation)

    each = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(each, in_axes=(0, None))(samples, generations)


class Best(NamedTuple):
    """The best individual of a sample so far: z [D], its fitness and count."""

    z: Array
    fitness: Array
    correct: Array


class Explored(NamedTuple):
    """What one exploration found.

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


class _Drawn(NamedTuple):
    """How an exploration draws: the strategy, sigma, centres [N, D], keys [N, T]."""

    evolution: Evolution
    sigma: Array
    centres: Array
    keys: Array


def _drawn(space, config, key, state) -> _Drawn:
    key_centres, key_candidates = jax.random.split(key)
    return _Drawn(
        EVOLUTIONS[config.evolution](space.dim, config.population),
        _sigma(config, state),
        _centres(config, space, key_centres, state.alpha),
        _candidate_keys(config, key_candidates, state),
    )


def first_generation(
    space: Space, config: EGNASConfig, key: Key, state: EGNASState
) -> Array:
    """The individuals that an exploration begins with, f32[N, P, D]."""
    evolution, sigma, centres, keys = _drawn(space, config, key, state)

    def ask(centre, key):
        return evolution.ask(key, evolution.init(centre, sigma))

    return jax.vmap(ask)(centres, keys[:, 0])


def explore(
    space: Space,
    config: EGNASConfig,
    evaluate: Evaluate,
    key: Key,
    state: EGNASState,
) -> tuple[EGNASState, Explored]:
    """N samples of T generations; alpha takes one step along the best individual.

    Args:
      space: of the cells.
      config: the options.
      evaluate: prices mixings [P].
      key, state: of this exploration; the caller counts the epochs.
    """
    evolution, sigma, centres, keys = _drawn(space, config, key, state)

    def generation(carry, key):
        es, leader = carry
        z = evolution.ask(key, es)
        evaluated = evaluate_individuals(evaluate, space, state.alpha, z, config)
        i = evaluated.winner
        new = Best(z[i], _nan_last(evaluated.fitness[i]), evaluated.correct[i])
        leader = _better(leader, new, config.tie)
        seen = z, evaluated._replace(direction={})
        return (evolution.tell(es, z, evaluated.fitness), leader), seen

    def sample(_, scanned):
        centre, keys = scanned
        zero = jnp.zeros((), jnp.int32)
        nobody = Best(centre, jnp.float32(jnp.inf), zero)
        start = evolution.init(centre, sigma), nobody
        (_, leader), seen = lax.scan(generation, start, keys)
        return None, (leader, seen)

    _, (leaders, (z, evaluated)) = lax.scan(sample, None, (centres, keys))
    n = _best_sample(space, config, evaluate, leaders)
    chosen = jax.tree.map(lambda leaf: leaf[n], leaders)
    found = Explored(chosen, sigma, z, leaders, evaluated)
    return _stepped(space, config, state, chosen), found


def _nan_last(fitness):
    return jnp.where(jnp.isnan(fitness), jnp.inf, fitness)


def _better(old: Best, new: Best, tie: str) -> Best:
    wins = new.fitness < old.fitness
    if tie == "last":
        wins = new.fitness <= old.fitness
    return jax.tree.map(lambda a, b: jnp.where(wins, b, a), old, new)


def _best_sample(space, config, evaluate, leaders: Best) -> Array:
    """Index of the sample whose leader becomes s*; ties go to the lower."""
    if config.best_sample == "fitness":
        return jnp.argmin(leaders.fitness)
    q = candidate_rows(unflatten(space, leaders.z), config)
    scores = evaluate(softmax_mixing(q))
    # the reference minimises 1 / accuracy and takes 0 for it where nothing is correct
    correct = scores.correct.astype(jnp.float32)
    return jnp.argmin(jnp.where(correct == 0, 0.0, 1.0 / correct))


def _stepped(space, config, state: EGNASState, chosen: Best) -> EGNASState:
    """Alpha one step further; unchanged, and counted, where all fitness was NaN."""
    finite = jnp.isfinite(chosen.fitness)
    s = direction(unflatten(space, chosen.z), state.alpha, config)

    def moved(v, d):
        return config.momentum * v + d

    velocity = jax.tree.map(moved, state.velocity, s)
    alpha = jax.tree.map(lambda a, v: a + config.step * v, state.alpha, velocity)
    new = state._replace(alpha=alpha, velocity=velocity, updates=state.updates + 1)
    old = state._replace(skipped=state.skipped + 1)
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
