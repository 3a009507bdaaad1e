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

from egnas_jax.strategies.egnas.evaluation import (
    Evaluate,
    EvaluatedPopulation,
    EvaluateEach,
    evaluate_individuals,
)
from egnas_jax.strategies.egnas.leaders import Best, best_sample, better, winner_of
from egnas_jax.strategies.egnas.method import EGNAS, with_eta
from egnas_jax.strategies.egnas.raced import race_individuals
from egnas_jax.strategies.egnas.sampling import draw_individuals, sampling_of
from egnas_jax.strategies.egnas.state import EGNASState
from egnas_jax.strategies.egnas.step import step_alpha
from egnas_jax.types import Array, Key, PyTree


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
        leader = better(leader, winner_of(z, population), method.config.tie)
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
    n = best_sample(method, evaluate, leaders)
    best = jax.tree.map(lambda leaf: leaf[n], leaders)
    exploration = Exploration(
        best=best, sigma=sigma, z=z, leaders=leaders, populations=populations
    )
    return step_alpha(method, state, best).replace(evolutions=ends), exploration
