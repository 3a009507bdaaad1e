"""Ageing (regularised) evolution over vectors of choices, with ask and tell.

The population is a queue: a new solution replaces the oldest one, not the worst. A
child differs in one position from its parent, which is the winner of a tournament.
Lower fitness is better.

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
    """The population.

    Attributes:
      solutions: i32[P, D].
      fitness: f32[P]; inf in empty slots.
      count: number of solutions so far, i32[]. The next one goes to slot count % P,
        which is empty or holds the oldest.
    """

    solutions: Array
    fitness: Array
    count: Array


class Ageing(NamedTuple):
    """The strategy, which handles one solution at a time and not P as an `Evolution`.

    Attributes:
      init: () -> state without solutions.
      ask: (key, state) -> i32[D]; uniform until the population is complete.
      tell: (state, solution i32[D], fitness f32[]) -> state; NaN ranks last.
    """

    init: Callable[[], AgeingState]
    ask: Callable[[Key, AgeingState], Array]
    tell: Callable[[AgeingState, Array, Array], AgeingState]


def ageing_evolution(
    dim: int, num_choices: int, population_size: int, tournament_size: int
) -> Ageing:
    """Ageing evolution over `dim` positions with `num_choices` choices each.

    Args:
      dim: D.
      num_choices: at every position, 2 or more.
      population_size: P, 2 or more.
      tournament_size: S, 1 or more; drawn with replacement, as in the source.

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
            solutions=jnp.zeros((population_size, dim), jnp.int32),
            fitness=jnp.full((population_size,), jnp.inf, jnp.float32),
            count=jnp.zeros((), jnp.int32),
        )

    def ask(key: Key, state: AgeingState) -> Array:
        key_random, key_parent, key_position, key_shift = jax.random.split(key, 4)
        random_solution = jax.random.randint(key_random, (dim,), 0, num_choices)
        rivals = jax.random.randint(key_parent, (tournament_size,), 0, population_size)
        winner = rivals[jnp.argmin(state.fitness[rivals])]
        position = jax.random.randint(key_position, (), 0, dim)
        # The shift is at least 1, so the child always differs.
        shift = jax.random.randint(key_shift, (), 1, num_choices)
        parent = state.solutions[winner]
        child = parent.at[position].set((parent[position] + shift) % num_choices)
        return jnp.where(state.count < population_size, random_solution, child)

    def tell(state: AgeingState, solution: Array, fitness: Array) -> AgeingState:
        slot = state.count % population_size
        rankable = jnp.where(jnp.isnan(fitness), jnp.inf, fitness)
        return AgeingState(
            solutions=state.solutions.at[slot].set(solution),
            fitness=state.fitness.at[slot].set(rankable),
            count=state.count + 1,
        )

    return Ageing(init, ask, tell)
