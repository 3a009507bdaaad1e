"""Simulates EG-NAS without a network: its winners are drawn at random.

Dims: P population, D = length of all alphas.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax import SPACES, EGNASConfig, egnas_step_direction, softmax_mixing
from egnas_jax.search.relax import flatten, unflatten
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.sampling import first_generation
from egnas_jax.strategies.egnas.state import EGNASState, state_without_evolutions
from egnas_jax.types import Array, Key

UPDATES, RUNS = 35, 100  # of a search of 50 epochs; searches that are simulated
SPACE = SPACES["darts7"]


def method_of(variant: str) -> EGNAS:
    """A variant of EG-NAS in the space of the searches."""
    config = EGNASConfig.variant(variant)
    return EGNAS(SPACE, config, config.hyperparams)


def first_population(
    method: EGNAS, key: Key, state: EGNASState, update: Array
) -> Array:
    """The individuals of every sample before an update, f32[N, P, D]."""
    epochs = update + method.config.warmup
    return first_generation(method, key, state.replace(updates=update, epochs=epochs))


def distinct_directions(variant: str) -> tuple[int, int]:
    """Counts directions of z - z_0 in all first generations of a search.

    Differences within a population do not depend on its centre.

    Returns:
      The number of distinct directions, and of all directions.
    """
    method = method_of(variant)
    state = state_without_evolutions(SPACE, jax.random.key(0))

    def draw(update: Array) -> Array:
        key = jax.random.fold_in(jax.random.key(1), update)
        z = first_population(method, key, state, update)
        differences = z[:, 1:] - z[:, :1]
        return differences / jnp.linalg.norm(differences, axis=-1, keepdims=True)

    directions = np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(UPDATES)))
    rows = directions.reshape(-1, directions.shape[-1]).round(3)
    return len(np.unique(rows, axis=0)), len(rows)


def random_walk(variant: str, updates: int = UPDATES) -> dict:
    """Moves alpha along winners that are drawn at random, in `RUNS` searches.

    Args:
      variant: of EG-NAS.
      updates: number of updates of alpha.

    Returns:
      "smallest_share" and "largest_share" of softmax(alpha) in each search;
      "argmax_of_initial_noise", share of edges that kept their argmax, in each; and
      "largest_relative_step" of a logit in any of them.
    """
    walk = functools.partial(_walk, method_of(variant), updates)
    keys = jax.random.split(jax.random.key(2), RUNS)
    smallest, largest, kept, steps = map(np.asarray, jax.jit(jax.vmap(walk))(keys))
    return {
        "smallest_share": smallest.tolist(),
        "largest_share": largest.tolist(),
        "argmax_of_initial_noise": kept.tolist(),
        "largest_relative_step": float(steps.max()),
    }


def _walk(method: EGNAS, updates: int, key: Key) -> tuple[Array, ...]:
    """One search of `random_walk`."""
    key_init, key = jax.random.split(key)
    first = state_without_evolutions(SPACE, key_init)
    step = functools.partial(_random_step, method)
    (last, _), directions = jax.lax.scan(step, (first, key), jnp.arange(updates))
    shares = flatten(SPACE, softmax_mixing(last.alpha).primitives)
    kept = jnp.mean(_argmaxes(first) == _argmaxes(last))
    rows = directions.reshape(updates, -1, len(SPACE.primitives))
    relative = rows - rows.mean(axis=-1, keepdims=True)
    return (
        shares.min(),
        shares.max(),
        kept,
        method.config.step * jnp.abs(relative).max(),
    )


def _random_step(method: EGNAS, carry: tuple[EGNASState, Key], update: Array):
    """One update of alpha; returns the flat direction of its step as well."""
    state, key = carry
    key, key_draw, key_winner = jax.random.split(key, 3)
    z = first_population(method, key_draw, state, update)[0]
    winner = unflatten(SPACE, z[jax.random.randint(key_winner, (), 0, len(z))])
    direction = egnas_step_direction(winner, state.alpha, method.config)
    alpha = jax.tree.map(
        lambda a, d: a + method.config.step * d, state.alpha, direction
    )
    return (state.replace(alpha=alpha), key), flatten(SPACE, direction)


def _argmaxes(state: EGNASState) -> Array:
    """The strongest primitive of every edge."""
    rows = flatten(SPACE, state.alpha).reshape(-1, len(SPACE.primitives))
    return jnp.argmax(rows, axis=-1)
