"""Ageing (regularised) evolution over vectors of choices, as ask and tell.

The population is a queue: a child replaces the oldest, not the worst. Its parent wins a
tournament; it differs from it in one position. Lower fitness is better.

Source: Real et al., Regularized Evolution for Image Classifier Architecture Search,
AAAI 2019, Algorithm 1.

Dims: P population, D length of one solution, S tournament.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.evolution.base import check_sizes
from egnas_jax.types import Array, Key


@flax.struct.dataclass
class AgeingState:
    """The queue.

    Attributes:
      solutions: i32[P, D].
      fitness: f32[P]; inf where nobody is yet.
      told: solutions told so far, i32[]; the next goes to slot told % P, where the
        oldest is.
    """

    solutions: Array
    fitness: Array
    told: Array


class Ageing(NamedTuple):
    """The strategy: one solution at a time, where `Evolution` asks for P.

    Attributes:
      init: () -> an empty queue.
      ask: (key, state) -> i32[D]; uniform until the queue is full.
      tell: (state, solution i32[D], fitness f32[]) -> state; NaN ranks last.
    """

    init: Callable[[], AgeingState]
    ask: Callable[[Key, AgeingState], Array]
    tell: Callable[[AgeingState, Array, Array], AgeingState]


def ageing_evolution(
    dim: int, num_choices: int, population_size: int, tournament_size: int
) -> Ageing:
    """Ageing evolution over `dim` choices out of `num_choices` each.

    Args:
      dim: D.
      num_choices: of every position, at least 2.
      population_size: P.
      tournament_size: S, drawn with replacement as in the source.

    Raises:
      ValueError: a size is too small.
    """
    check_sizes(dim, population_size)
    for name, value, least in (
        ("num_choices", num_choices, 2),
        ("tournament_size", tournament_size, 1),
    ):
        if value < least:
            raise ValueError(f"{name} is {value}, but must be at least {least}.")

    def init() -> AgeingState:
        return AgeingState(
            jnp.zeros((population_size, dim), jnp.int32),
            jnp.full((population_size,), jnp.inf, jnp.float32),
            jnp.zeros((), jnp.int32),
        )

    def ask(key: Key, state: AgeingState) -> Array:
        key_random, key_parent, key_place, key_shift = jax.random.split(key, 4)
        anybody = jax.random.randint(key_random, (dim,), 0, num_choices)
        rivals = jax.random.randint(key_parent, (tournament_size,), 0, population_size)
        winner = rivals[jnp.argmin(state.fitness[rivals])]
        place = jax.random.randint(key_place, (), 0, dim)
        # a shift of 1 or more: the child always differs
        shift = jax.random.randint(key_shift, (), 1, num_choices)
        parent = state.solutions[winner]
        child = parent.at[place].set((parent[place] + shift) % num_choices)
        return jnp.where(state.told < population_size, anybody, child)

    def tell(state: AgeingState, solution: Array, fitness: Array) -> AgeingState:
        slot = state.told % population_size
        ranked = jnp.where(jnp.isnan(fitness), jnp.inf, fitness)
        return AgeingState(
            state.solutions.at[slot].set(solution),
            state.fitness.at[slot].set(ranked),
            state.told + 1,
        )

    return Ageing(init, ask, tell)
