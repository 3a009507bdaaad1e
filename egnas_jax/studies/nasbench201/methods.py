"""Search methods on a table: a run is a function of a key.

EG-NAS is the code of the supernet search; only what prices a mixing is the table. A
query is one pricing of a cell; a cell that is evaluated again counts again.

Sources: strategies/egnas.py; Real et al. (AAAI 2019) for ageing evolution; uniform
draws with replacement for random search.

Dims: Q queries.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.evolution import ageing_evolution
from egnas_jax.search.relax import softmax_mixing, unflatten, unweighted
from egnas_jax.strategies.egnas.config import EGNASConfig, with_traced
from egnas_jax.strategies.egnas.evaluation import candidate_rows
from egnas_jax.strategies.egnas.explore import explore, initial_state
from egnas_jax.strategies.egnas.strategy import mixings_evaluated
from egnas_jax.strategies.random_search import random_child
from egnas_jax.studies.nasbench201.table import (
    SPACE,
    Table,
    code_of,
    look_up,
    rows_of,
)
from egnas_jax.types import Array, Key


@dataclasses.dataclass(frozen=True)
class AgeingConfig:
    """Attributes:
    population: cells of the queue.
    tournament: cells of which the best becomes the parent.

    Raises:
      ValueError: a number out of its range.
    """

    population: int = 10
    tournament: int = 3

    def __post_init__(self):
        for name, least in (("population", 2), ("tournament", 1)):
            if not least <= getattr(self, name) <= 10**5:
                raise ValueError(
                    f"ageing_evolution.{name} is {getattr(self, name)}, but must be "
                    f"from {least} to {10**5}."
                )


@dataclasses.dataclass(frozen=True)
class RandomConfig:
    """Random search has nothing to set."""


class Run(NamedTuple):
    """What a run found.

    Attributes:
      rows: rows of the table in the order in which they were evaluated, i32[Q].
      answer: row of the cell that the method itself names in the end, i32[].
    """

    rows: Array
    answer: Array


def egnas_run(
    table: Table, config: EGNASConfig, queries: int, numbers: dict, key: Key
) -> Run:
    """EG-NAS: explorations one after another; the answer is derived from alpha.

    Args:
      table: what prices a cell.
      config: its options.
      queries: Q. The last exploration is whole, and what exceeds Q is left out of the
        rows.
      numbers: values that take the place of some of the options, see `with_traced`.
      key: of the run.
    """
    config = with_traced(config, numbers)
    key_init, key_run = jax.random.split(key)

    def exploration(state, key):
        moved, found = explore(
            SPACE, config, functools.partial(look_up, table), key, state
        )
        rows = _priced(table, config, state.alpha, found)
        return moved._replace(epochs=moved.epochs + 1), rows

    number = -(-queries // mixings_evaluated(config))
    state, rows = lax.scan(
        exploration, initial_state(SPACE, key_init), jax.random.split(key_run, number)
    )
    answer = rows_of(table, softmax_mixing(state.alpha))
    return Run(rows.reshape(-1)[:queries], answer)


def _priced(table, config, alpha, found):
    """Rows of one exploration in the order of their pricing, alpha's among them."""

    def rows(z):
        return rows_of(table, unweighted(candidate_rows(unflatten(SPACE, z), config)))

    individuals = rows(found.z)  # [N, T, P]
    own = rows_of(table, softmax_mixing(alpha))
    own = jnp.broadcast_to(own, (*individuals.shape[:2], 1))
    evaluated = jnp.concatenate([own, individuals], axis=2).reshape(-1)
    if config.best_sample == "accuracy":
        evaluated = jnp.concatenate([evaluated, rows(found.leaders.z)])
    return evaluated


def random_run(
    table: Table, config: RandomConfig, queries: int, numbers: dict, key: Key
) -> Run:
    """Random search: every cell is as likely as any other at every query."""
    del config, numbers
    keys = jax.random.split(key, queries)
    cells = jax.vmap(lambda key: random_child(key, SPACE))(keys)
    rows = rows_of(table, cells)
    return Run(rows, incumbents(table, rows)[-1])


def ageing_run(
    table: Table, config: AgeingConfig, queries: int, numbers: dict, key: Key
) -> Run:
    """Ageing evolution: the answer is the best cell that was ever evaluated."""
    del numbers
    evolution = ageing_evolution(
        SPACE.num_edges, len(SPACE.primitives), config.population, config.tournament
    )

    def query(state, key):
        cell = evolution.ask(key, state)
        row = table.row_of[code_of(cell)]
        return evolution.tell(state, cell, 1.0 - table.valid[row]), row

    _, rows = lax.scan(query, evolution.init(), jax.random.split(key, queries))
    return Run(rows, incumbents(table, rows)[-1])


def incumbents(table: Table, rows: Array) -> Array:
    """Row of the best validation accuracy among the first q, for q = 1 ... Q; [Q]."""
    valid = table.valid[rows]
    best = lax.cummax(valid)
    before = jnp.concatenate([jnp.full((1,), -jnp.inf), best[:-1]])
    position = jnp.where(valid > before, jnp.arange(len(rows)), 0)
    return rows[lax.cummax(position)]


# name -> (table, its configuration, queries, traced numbers, key) -> Run
METHODS: dict[str, Callable] = {
    "egnas": egnas_run,
    "random_search": random_run,
    "ageing_evolution": ageing_run,
}
