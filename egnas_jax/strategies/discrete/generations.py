"""Carries out one black-box search: generations of cells, and the best of them.

The cells of one generation are evaluated by one call; so is each part of that size of
the population, of which the last may hold some cells twice.

Dims: P population, n cells of one generation, F finalists.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.strategies.discrete.config import BlackBoxConfig
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.limits.costs import (
    limit_metrics,
    quantiles_within,
    without_over,
)
from egnas_jax.strategies.population_statistics import quantile_names
from egnas_jax.types import Array, Key, PyTree

NO_LIMIT = Limit()
WORST = 1e9  # fitness of a cell whose loss is no number
MOST_POINTS = 50  # of a search's course, so that its record stays short


class Proposer(NamedTuple):
    """What proposes cells and learns from their fitness.

    Attributes:
      init: (key) -> a state with a population.
      members: (state) -> the population, cells [P, ...].
      revalue: (state, fitness f32[P]) -> state with that fitness of its members.
      ask: (key, state) -> state, cells [n, ...].
      tell: (state, cells [n, ...], fitness f32[n]) -> state.
      metrics: (state) -> scalars for the record.
      answer: (state) -> the cell that the search answers, and its fitness; None: it
        answers the best.
      finalists: (state, F) -> which members are evaluated again, i32[F], where those
        are not the best; the other members count no more. It needs `answer`, since the
        best cells of the search are not evaluated again then. None: the best.
    """

    init: Callable[[Key], PyTree]
    members: Callable[[PyTree], Array]
    revalue: Callable[[PyTree, Array], PyTree]
    ask: Callable[[Key, PyTree], tuple[PyTree, Array]]
    tell: Callable[[PyTree, Array, Array], PyTree]
    metrics: Callable[[PyTree], dict[str, Array]] = lambda state: {}
    answer: Callable[[PyTree], tuple[Array, Array]] | None = None
    finalists: Callable[[PyTree, int], Array] | None = None


@flax.struct.dataclass
class BlackBoxState:
    """What a black-box search carries.

    Attributes:
      proposer: state of what proposes.
      best: the best cells of the last search, best first, [F, ...].
      best_fitness: f32[F], on the images of the search.
    """

    proposer: PyTree
    best: Array
    best_fitness: Array


def search_once(
    key: Key,
    state: BlackBoxState,
    proposer: Proposer,
    evaluate: Callable[[Array], Array],
    generations: int,
    *,
    limit: Limit = NO_LIMIT,
) -> tuple[BlackBoxState, dict[str, Array]]:
    """Evaluates the population, then one generation after the other.

    The population is evaluated in blocks of the size of a generation, so that one loop
    evaluates both, and the evaluator compiles once.

    Args:
      key: consumed.
      state: before the search.
      proposer: what proposes.
      evaluate: (cells [n, ...]) -> fitness f32[n].
      generations: how many follow the population.
      limit: that the cells keep.

    Returns:
      The new state and metrics: the best fitness, quantiles of the fitness of the last
      generation, the number of evaluations, those of `limit_metrics` and of the
      proposer, and the course of the search, see `course_of`.
    """
    members = proposer.members(state.proposer)
    _, asked = jax.eval_shape(proposer.ask, key, state.proposer)
    blocks = in_blocks(members, len(asked))

    def step(carry, inputs):
        (state, known), (key, index) = carry, inputs
        is_block = index < len(blocks)
        inner, population = proposer.ask(key, state.proposer)
        block = blocks[jnp.minimum(index, len(blocks) - 1)]
        population = jnp.where(is_block, block, population)
        fitness = evaluate(population)
        known = known.at[index].set(fitness, mode="drop")
        inner = lax.cond(
            is_block,
            lambda: proposer.revalue(state.proposer, known.ravel()[: len(members)]),
            lambda: proposer.tell(inner, population, fitness),
        )
        new = with_best(state.replace(proposer=inner), population, fitness)
        best = without_over(new.best_fitness[0], limit)
        return (new, known), (fitness, {"fitness": best, **proposer.metrics(inner)})

    unknown = jnp.full_like(state.best_fitness, WORST)
    known = jnp.full(blocks.shape[:2], WORST, jnp.float32)
    start = state.replace(best_fitness=unknown), known
    steps = len(blocks) + generations
    keys = jax.random.split(key, steps)
    (new, _), outputs = lax.scan(step, start, (keys, jnp.arange(steps)))
    by_step, course = outputs
    info = {
        "fitness": without_over(new.best_fitness[0], limit),
        "evaluations": jnp.float32(by_step.size),
        **quantiles_within(by_step[-1], limit),
        **limit_metrics(by_step[-1], limit),
        **proposer.metrics(new.proposer),
        **course_of({name: values[len(blocks) :] for name, values in course.items()}),
    }
    return new, info


def course_of(metrics: dict[str, Array]) -> dict[str, Array]:
    """Returns metrics after some generations, at equal distances, f32[points].

    Args:
      metrics: after each generation, f32[generations].

    Returns:
      "NAME_by_generation" of each, and "generation", the numbers of the generations,
      from 1.
    """
    generations = len(metrics["fitness"])
    places = np.linspace(0, generations - 1, min(generations, MOST_POINTS)).round()
    places = places.astype(int)
    chosen = {f"{name}_by_generation": v[places] for name, v in metrics.items()}
    return chosen | {"generation": jnp.asarray(places + 1, jnp.float32)}


def in_blocks(cells: Array, size: int) -> Array:
    """Cells [P, ...] as blocks [ceil(P / size), size, ...]; the first fill the last."""
    number = -(-len(cells) // size)
    return cells[jnp.arange(number * size) % len(cells)].reshape(
        number, size, *cells.shape[1:]
    )


def with_best(state: BlackBoxState, population: Array, fitness: Array) -> BlackBoxState:
    """The state whose best cells are those of before and of a population.

    Of equal fitness the earlier stays first, and a cell stands once.
    """
    cells = jnp.concatenate([state.best, population])
    values = jnp.concatenate([state.best_fitness, fitness])
    flat = cells.reshape(len(cells), -1)
    equal = jnp.all(flat[:, None, :] == flat[None, :, :], axis=-1)
    # What is known before counts first; the entries before any search count last.
    place = jnp.arange(len(cells))
    is_real = values < WORST
    earlier = (place[None, :] < place[:, None]) & is_real[None, :]
    values = jnp.where(jnp.any(equal & earlier, axis=1), WORST, values)
    chosen = jnp.argsort(values, stable=True)[: len(state.best)]
    return state.replace(best=cells[chosen], best_fitness=values[chosen])


def no_search(
    proposer: Proposer, state: BlackBoxState, config: BlackBoxConfig
) -> dict[str, Array]:
    """The metrics of an epoch without a search: missing numbers, and no evaluation.

    A missing number is infinite here, and None in the record, as is a whole list of
    them: NaN would stop a process that looks for it (`JAX_DEBUG_NANS`).
    """
    of_proposer = proposer.metrics(state.proposer)
    names = [
        "fitness",
        "final_fitness",
        *quantile_names("fitness"),
        *of_proposer,
        *limit_metrics(state.best_fitness, config.limit),
    ]
    empty = jnp.zeros(config.generations, jnp.float32)
    course = course_of(dict.fromkeys(("fitness", *of_proposer), empty))
    unknown = jnp.float32(jnp.inf)
    return (
        dict.fromkeys(names, unknown)
        | {name: jnp.full_like(v, unknown) for name, v in course.items()}
        | {"evaluations": jnp.float32(0.0)}
    )
