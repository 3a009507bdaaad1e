"""Draws the individuals of an exploration of EG-NAS.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1, lines 7 to 10. Where paper, report
and official code differ, an option of `EGNASConfig` decides.

Dims: N samples, T generations, P population, D = kinds E K of E edges, K primitives.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from egnas_jax.evolution import EVOLUTIONS, Evolution
from egnas_jax.search.relax import flatten, softmax_mixing, unflatten
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.individuals import derived_cells
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.state import EGNASState, state_without_evolutions
from egnas_jax.types import IMPL, Array, Key, PyTree

DRAWS = 4  # populations of which one without repeats is chosen


def initial_state(method: EGNAS, key: Key) -> EGNASState:
    """Makes the state before the first epoch.

    States of the evolution strategy are part of it where something of them is carried
    on; they are around alpha.

    Where all of their state is carried on, they keep these centres, so `centre` and
    `noise` count here. Otherwise every exploration sets new ones.
    """
    state, config = state_without_evolutions(method.space, key), method.config
    if not config.carries:
        return state
    if config.carried == "all":
        # 0 and 1 belong to `state_without_evolutions`
        centres = _centres(method, jax.random.fold_in(key, 2), state.alpha)
    else:
        alpha = flatten(method.space, state.alpha)
        centres = jnp.broadcast_to(alpha, (config.samples, len(alpha)))
    sigma = method.hyperparams.sigma_start
    evolutions = jax.vmap(evolution_of(method).init, in_axes=(0, None))(centres, sigma)
    return state.replace(evolutions=evolutions)


class Sampling(NamedTuple):
    """How an exploration draws.

    Attributes:
      evolution: the evolution strategy.
      sigma: step size that the samples begin with; the mean where each sample has its
        own, f32[].
      centres: of the samples, [N, D]; not used where all of the state is carried on.
      starts: the strategy's state of every sample, leaves [N, ...].
      keys: of the generations, [N, T].
    """

    evolution: Evolution
    sigma: Array
    centres: Array
    starts: PyTree
    keys: Array


def first_generation(method: EGNAS, key: Key, state: EGNASState) -> Array:
    """Draws the individuals that an exploration begins with, f32[N, P, D]."""
    sampling = sampling_of(method, key, state)

    def individuals(key: Key, es: PyTree) -> Array:
        return draw_individuals(method, sampling.evolution, key, es, state.alpha)

    return jax.vmap(individuals)(sampling.keys[:, 0], sampling.starts)


def draw_individuals(
    method: EGNAS, evolution: Evolution, key: Key, es: PyTree, alpha: dict[str, Array]
) -> Array:
    """Draws a population; its repeats of a cell are replaced where that is asked.

    A repeat is an individual whose derived cell is that of alpha or of one before it.

    Args:
      method: space, options and numbers.
      evolution, es: the evolution strategy and its state.
      key: of the generation.
      alpha: cell kind -> [E, K].

    Returns:
      f32[P, D].
    """
    if method.config.repeats == "kept":
        return evolution.ask(key, es)
    keys = jax.random.split(key, DRAWS)
    drawn = jax.vmap(lambda k: evolution.ask(k, es))(keys).reshape(-1, method.space.dim)
    everyone = jnp.concatenate([flatten(method.space, alpha)[None], drawn])
    cells = derived_cells(method.space, unflatten(method.space, everyone))
    # one-hot rows at the edges that a cell has, equally many in all cells
    rows = [cells.primitives[kind] * cells.edges[kind][..., None] for kind in alpha]
    flat = jnp.concatenate([row.reshape(len(everyone), -1) for row in rows], axis=1)
    equal = flat @ flat.T == jnp.sum(flat[0])
    is_repeat = jnp.any(jnp.tril(equal, -1), axis=1)[1:]
    # the first that are new, and repeats only where there are too few of those
    chosen = jnp.argsort(is_repeat, stable=True)[: method.config.population]
    return drawn[chosen]


def evolution_of(method: EGNAS) -> Evolution:
    """Returns the evolution strategy for vectors of the method's space."""
    make = EVOLUTIONS[method.config.evolution]
    return make(method.space.dim, method.config.population)


def sampling_of(method: EGNAS, key: Key, state: EGNASState) -> Sampling:
    """Returns how an exploration draws.

    Args:
      method: space, options and numbers.
      key: of the exploration.
      state: before it.
    """
    config = method.config
    key_centres, key_candidates = jax.random.split(key)
    evolution, sigma = evolution_of(method), _sigma(method, state)
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
    return Sampling(evolution, sigma, centres, starts, keys)


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
    rows = alpha
    if config.centre != "alpha":
        rows = softmax_mixing(alpha, space).primitives
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
