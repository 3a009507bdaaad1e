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
    derived_cells,
    egnas_step_direction,
    evaluate_individuals,
    individual_rows,
)
from egnas_jax.strategies.egnas.raced import race_individuals
from egnas_jax.strategies.limits.costs import OVER
from egnas_jax.types import IMPL, Array, Key, PyTree

DRAWS = 4  # populations of which one without repeats is chosen


@flax.struct.dataclass
class EGNASState:
    """What EG-NAS carries.

    Attributes:
      alpha: cell kind -> f32[E, K].
      velocity: of alpha, the same shapes.
      run_key: key data of the run's candidates (used by `candidates="run"`), u32[2].
      epochs: epochs seen, i32[].
      updates: explorations with a finite fitness, i32[]: updates of alpha, with those
        that were not accepted.
      skipped: explorations without one finite fitness, i32[].
      evolutions: states of the evolution strategy of every sample, leaves [N, ...],
        where something of them is carried on; else None.
    """

    alpha: dict[str, Array]
    velocity: dict[str, Array]
    run_key: Array
    epochs: Array
    updates: Array
    skipped: Array
    evolutions: PyTree | None = None


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


def start(method: EGNAS, key: Key) -> EGNASState:
    """Makes the first state; evolution strategies that it carries are around alpha."""
    state = initial_state(method.space, key)
    if not method.config.carries:
        return state
    alpha = flatten(method.space, state.alpha)
    centres = jnp.broadcast_to(alpha, (method.config.samples, len(alpha)))
    sigma = method.hyperparams.sigma_start
    evolutions = jax.vmap(_evolution(method).init, in_axes=(0, None))(centres, sigma)
    return state.replace(evolutions=evolutions)


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


class _Sampling(NamedTuple):
    """How an exploration draws.

    Attributes:
      evolution: the evolution strategy.
      sigma: with which the samples begin, in the mean, f32[].
      centres: of the samples, [N, D]; not used where all of the state is carried on.
      starts: the strategy's state of every sample, leaves [N, ...].
      keys: of the generations, [N, T].
    """

    evolution: Evolution
    sigma: Array
    centres: Array
    starts: PyTree
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
    evolution, sigma, centres, starts, keys = _sampling(method, key, state)
    method = _with_eta(method, state)
    if method.config.races:
        score = functools.partial(race_individuals, method, evaluate_each)
    else:
        score = functools.partial(evaluate_individuals, method, evaluate)

    def generation(carry: tuple[PyTree, Best], key: Key):
        es, leader = carry
        z = _individuals(method, evolution, key, es, state.alpha)
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


def first_generation(method: EGNAS, key: Key, state: EGNASState) -> Array:
    """Draws the individuals that an exploration begins with, f32[N, P, D]."""
    sampling = _sampling(method, key, state)

    def individuals(key: Key, es: PyTree) -> Array:
        return _individuals(method, sampling.evolution, key, es, state.alpha)

    return jax.vmap(individuals)(sampling.keys[:, 0], sampling.starts)


def _individuals(
    method: EGNAS, evolution: Evolution, key: Key, es: PyTree, alpha: dict[str, Array]
) -> Array:
    """A population, f32[P, D]; its repeats of a cell are replaced where that is asked.

    A repeat is an individual whose derived cell is that of alpha or of one before it.
    """
    if method.config.repeats == "kept":
        return evolution.ask(key, es)
    keys = jax.random.split(key, DRAWS)
    drawn = jax.vmap(lambda k: evolution.ask(k, es))(keys).reshape(-1, method.space.dim)
    everyone = jnp.concatenate([flatten(method.space, alpha)[None], drawn])
    cells = derived_cells(method.space, unflatten(method.space, everyone))
    leaves = [leaf.reshape(len(everyone), -1) for leaf in jax.tree.leaves(cells)]
    flat = jnp.concatenate(leaves, axis=1)
    equal = jnp.all(flat[:, None] == flat[None, :], axis=-1)
    is_repeat = jnp.any(jnp.tril(equal, -1), axis=1)[1:]
    # the first that are new, and repeats only where there are too few of those
    chosen = jnp.argsort(is_repeat, stable=True)[: method.config.population]
    return drawn[chosen]


def _evolution(method: EGNAS) -> Evolution:
    make = EVOLUTIONS[method.config.evolution]
    return make(method.space.dim, method.config.population)


def _sampling(method: EGNAS, key: Key, state: EGNASState) -> _Sampling:
    config = method.config
    key_centres, key_candidates = jax.random.split(key)
    evolution, sigma = _evolution(method), _sigma(method, state)
    centres = _centres(method, key_centres, state.alpha)
    starts = jax.vmap(evolution.init, in_axes=(0, None))(centres, sigma)
    if config.carried == "shape":
        starts = state.evolutions.replace(mean=centres, sigma=starts.sigma)
    elif config.carried == "all":
        starts = state.evolutions.replace(sigma=starts.sigma)
    if config.sigma == "own":
        starts = starts.replace(sigma=state.evolutions.sigma)
        sigma = jnp.mean(starts.sigma)
    keys = candidate_keys(config, key_candidates, state)
    return _Sampling(evolution, sigma, centres, starts, keys)


def _with_eta(method: EGNAS, state: EGNASState) -> EGNAS:
    """The method with the weight of L2 that this exploration has."""
    if method.config.eta_schedule == "constant":
        return method
    eta = method.hyperparams.eta / (state.updates + 1).astype(jnp.float32)
    return method._replace(hyperparams=method.hyperparams.replace(eta=eta))


def _sigma(method: EGNAS, state: EGNASState) -> Array:
    config, hyperparams = method.config, method.hyperparams
    if config.sigma in ("constant", "own"):
        return jnp.float32(hyperparams.sigma_start)
    count = {"by_update": state.updates, "by_epoch": state.epochs}[config.sigma]
    sigma = hyperparams.sigma_start / (count + 1).astype(jnp.float32)
    return jnp.maximum(sigma, hyperparams.sigma_floor)


def _centres(method: EGNAS, key: Key, alpha: dict[str, Array]) -> Array:
    """m_n of every sample, [N, D]."""
    config, space = method.config, method.space
    rows = alpha if config.centre == "alpha" else relaxed(space, alpha).primitives
    if config.centre == "one_hot":
        rows = {kind: _one_hot(row) for kind, row in rows.items()}
    draws = 1 if config.centre_noise == "shared" else config.samples
    noise = jax.random.normal(key, (draws, space.dim))
    return jnp.broadcast_to(
        flatten(space, rows)[None] + method.hyperparams.noise * noise,
        (config.samples, space.dim),
    )


def _one_hot(rows: Array) -> Array:
    return jax.nn.one_hot(jnp.argmax(rows, axis=-1), rows.shape[-1])


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
    scores = evaluate(relaxed(method.space, q))
    # the official code minimises 1 / accuracy and takes 0 for it where nothing is right
    correct = scores.correct.astype(jnp.float32)
    ranked = jnp.where(correct == 0, 0.0, 1.0 / correct)
    if method.excess is not None:
        ranked = jnp.where(leaders.fitness >= OVER, leaders.fitness, ranked)
    return jnp.argmin(ranked)


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
