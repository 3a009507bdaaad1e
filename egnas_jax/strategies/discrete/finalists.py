"""Evaluates the finalists of a black-box search again, on other batches.

A search ranks best those cells that its images happen to favour, so the finalists are
evaluated again on others.

Dims: F finalists.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from egnas_jax.strategies.discrete.generations import WORST, BlackBoxState, Proposer
from egnas_jax.strategies.limits.costs import WORST_WITHIN
from egnas_jax.types import Array


def reevaluate_best(
    result: tuple[BlackBoxState, dict[str, Array]],
    batches: int,
    evaluate: Callable[[Array, Array], Array],
) -> tuple[BlackBoxState, dict[str, Array]]:
    """Orders the best cells by their mean fitness on a number of batches.

    Args:
      result: state and metrics of `search_once`.
      batches: how many; without any, the order stays.
      evaluate: (cells [F, ...], number of the batch) -> fitness f32[F].

    Returns:
      The state, and the metrics with "final_fitness", that of the answered cell.
    """
    state, info = result
    if batches == 0:
        return state, info | {"final_fitness": state.best_fitness[0]}
    fitness = lax.map(lambda place: evaluate(state.best, place), jnp.arange(batches))
    mean = mean_fitness(fitness)
    # Entries that no search has filled stay last.
    order = jnp.argsort(jnp.where(state.best_fitness < WORST, mean, WORST), stable=True)
    new = state.replace(best=state.best[order], best_fitness=state.best_fitness[order])
    return new, info | {
        "final_fitness": mean[order[0]],
        "evaluations": info["evaluations"] + float(fitness.size),
    }


def mean_fitness(fitness: Array) -> Array:
    """Mean over batches of a fitness [batches, F]; the worst where a batch has none."""
    worst = jnp.max(fitness, axis=0)
    return jnp.where(worst >= WORST_WITHIN, worst, jnp.mean(fitness, axis=0))


def reevaluate_members(
    proposer: Proposer,
    result: tuple[BlackBoxState, dict[str, Array]],
    batches: int,
    evaluate: Callable[[Array, Array], Array],
) -> tuple[BlackBoxState, dict[str, Array]]:
    """Replaces the fitness of the finalists by their mean on a number of batches.

    The members that are no finalists have the worst fitness then, since theirs does not
    compare.

    Args:
      proposer: what proposed them; has `finalists` and `answer`.
      result, batches, evaluate: see `reevaluate_best`.

    Returns:
      As `reevaluate_best`.
    """
    state, info = result
    if batches > 0:
        members = proposer.members(state.proposer)
        chosen = proposer.finalists(state.proposer, len(state.best))
        places = jnp.arange(batches)
        fitness = lax.map(lambda place: evaluate(members[chosen], place), places)
        unknown = jnp.full((len(members),), WORST, jnp.float32)
        known = unknown.at[chosen].set(mean_fitness(fitness))
        state = state.replace(proposer=proposer.revalue(state.proposer, known))
        evaluations = info["evaluations"] + float(fitness.size)
        info = info | {"evaluations": evaluations}
    return state, info | {"final_fitness": proposer.answer(state.proposer)[1]}
