"""Ageing (regularised) evolution over discrete solutions, with ask and tell.

The population is a queue: a new solution replaces the oldest one, not the worst. A
child is a mutation of its parent, which is the winner of a tournament. Lower fitness is
better.

Source: Real et al., Regularized Evolution for Image Classifier Architecture Search,
AAAI 2019, Algorithm 1. Several children may be asked for before one is told, as the
source's asynchronous workers do.

Dims: P population, D length of one solution, S tournament, n children of one call.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.evolution.base import check_sizes
from egnas_jax.evolution.genes import Genes, vector_genes
from egnas_jax.evolution.shaping import rankable
from egnas_jax.types import Array, Key


@flax.struct.dataclass
class AgeingState:
    """The population.

    Attributes:
      solutions: i32[P, ...].
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
      ask: (key, state) -> a solution; a random one until the population is complete.
      tell: (state, solution, fitness f32[]) -> state; NaN ranks last.
      tell_many: (state, solutions [n, ...], fitness f32[n]) -> state, n of at most P,
        told in their order.
    """

    init: Callable[[], AgeingState]
    ask: Callable[[Key, AgeingState], Array]
    tell: Callable[[AgeingState, Array, Array], AgeingState]
    tell_many: Callable[[AgeingState, Array, Array], AgeingState]


def ageing_evolution(
    dim: int,
    num_choices: int,
    population_size: int,
    tournament_size: int,
    *,
    groups: Sequence[int] | None = None,
) -> Ageing:
    """Ageing evolution over `dim` positions with `num_choices` choices each.

    Args:
      dim: D.
      num_choices: number of choices at every position, 2 or more.
      population_size: P, 2 or more.
      tournament_size: S, 1 or more; drawn with replacement, as in the source.
      groups: see `vector_genes`; None: a mutation draws any position alike.

    Raises:
      ValueError: a size is too small, or the groups do not sum to `dim`.
    """
    genes = vector_genes(dim, num_choices, groups)
    return ageing_evolution_of(genes, population_size, tournament_size)


def ageing_evolution_of(
    genes: Genes, population_size: int, tournament_size: int
) -> Ageing:
    """Ageing evolution over solutions of any kind.

    Args:
      genes: how solutions are drawn and changed.
      population_size: P, 2 or more.
      tournament_size: S, 1 or more; drawn with replacement, as in the source.

    Raises:
      ValueError: a size is too small.
    """
    check_sizes(1, population_size)
    if tournament_size < 1:
        raise ValueError(f"tournament_size is {tournament_size}; the least is 1.")

    def init() -> AgeingState:
        solution = jax.eval_shape(genes.random, jax.random.key(0))
        return AgeingState(
            solutions=jnp.zeros((population_size, *solution.shape), solution.dtype),
            fitness=jnp.full((population_size,), jnp.inf, jnp.float32),
            count=jnp.zeros((), jnp.int32),
        )

    def ask(key: Key, state: AgeingState) -> Array:
        key_random, key_rivals, key_mutate = jax.random.split(key, 3)
        rivals = jax.random.randint(key_rivals, (tournament_size,), 0, population_size)
        parent = state.solutions[tournament_winner(state.fitness, rivals)]
        return jnp.where(
            state.count < population_size,
            genes.random(key_random),
            genes.mutate(key_mutate, parent),
        )

    def tell_many(state: AgeingState, solutions: Array, fitness: Array) -> AgeingState:
        if len(solutions) > population_size:
            raise ValueError(
                f"{len(solutions)} solutions are told at once, but the population "
                f"holds {population_size}: some would never be in it. Tell fewer."
            )
        slots = (state.count + jnp.arange(len(solutions))) % population_size
        return AgeingState(
            solutions=state.solutions.at[slots].set(solutions),
            fitness=state.fitness.at[slots].set(rankable(fitness)),
            count=state.count + len(solutions),
        )

    def tell(state: AgeingState, solution: Array, fitness: Array) -> AgeingState:
        return tell_many(state, solution[None], jnp.reshape(fitness, (1,)))

    return Ageing(init, ask, tell, tell_many)


def tournament_winner(fitness: Array, rivals: Array) -> Array:
    """Index of the best of the rivals i32[S], the first of equals, among f32[P]."""
    return rivals[jnp.argmin(fitness[rivals])]
