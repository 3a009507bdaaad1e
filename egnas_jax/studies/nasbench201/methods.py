"""Runs EG-NAS, ageing evolution and random search on the table.

Every run is a pure function of a key. EG-NAS is the code of the supernet search; only
the evaluation of a mixing is replaced by the table. A query is one evaluation of a
cell; repeated evaluations of the same cell count again.

Sources: strategies/egnas; Real et al. (AAAI 2019) for ageing evolution; uniform draws
with replacement for random search.

Dims: Q queries.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.evolution import ageing_evolution
from egnas_jax.search.relax import softmax_mixing, unflatten, unweighted
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.explore import Exploration, explore
from egnas_jax.strategies.egnas.individuals import individual_rows
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.sampling import initial_state
from egnas_jax.strategies.random_search import random_child
from egnas_jax.studies.nasbench201.method_configs import AgeingConfig, RandomConfig
from egnas_jax.studies.nasbench201.table import (
    SPACE,
    BenchmarkTable,
    code_of,
    look_up,
    rows_of,
)
from egnas_jax.types import Array, Key


@flax.struct.dataclass
class TableRun:
    """Result of one run.

    Attributes:
      rows: rows of the table in the order of their evaluation, i32[Q].
      answer: row of the cell that the method returns, i32[].
    """

    rows: Array
    answer: Array


def egnas_run(
    table: BenchmarkTable,
    config: EGNASConfig,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """EG-NAS: a sequence of explorations; the answer is derived from alpha.

    Args:
      table: evaluates the cells.
      config: options of EG-NAS.
      queries: Q. The answer is that of the alpha after the last exploration that is
        complete after Q queries, or of the first alpha if none is. The rows include
        those of an exploration that has begun.
      hyperparams: values that replace some of `EGNASConfig.hyperparams`.
      key: key of the run.
    """
    method = EGNAS(SPACE, config, config.hyperparams.replace(**hyperparams))
    key_init, key_run = jax.random.split(key)

    def step(state, key):
        evaluate = functools.partial(look_up, table)
        new, exploration = explore(method, evaluate, key, state)
        rows = _rows_evaluated(table, config, state.alpha, exploration)
        return new.replace(epochs=new.epochs + 1), (new.alpha, rows)

    state = initial_state(method, key_init)
    begun = -(-queries // config.mixings_evaluated)
    _, (alphas, rows) = lax.scan(step, state, jax.random.split(key_run, begun))
    alpha, complete = state.alpha, queries // config.mixings_evaluated
    if complete:
        alpha = jax.tree.map(lambda leaf: leaf[complete - 1], alphas)
    answer = rows_of(table, softmax_mixing(alpha))
    return TableRun(rows=rows.reshape(-1)[:queries], answer=answer)


def _rows_evaluated(
    table: BenchmarkTable,
    config: EGNASConfig,
    alpha: dict[str, Array],
    exploration: Exploration,
) -> Array:
    """Rows of one exploration in the order of their evaluation, alpha's among them."""

    def rows(z):
        return rows_of(table, unweighted(individual_rows(unflatten(SPACE, z), config)))

    individuals = rows(exploration.z)  # [N, T, P]
    alphas = rows_of(table, softmax_mixing(alpha))
    alphas = jnp.broadcast_to(alphas, (*individuals.shape[:2], 1))
    evaluated = jnp.concatenate([alphas, individuals], axis=2).reshape(-1)
    if config.best_sample == "accuracy":
        evaluated = jnp.concatenate([evaluated, rows(exploration.leaders.z)])
    return evaluated


def random_run(
    table: BenchmarkTable,
    config: RandomConfig,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """Random search: every query draws a cell uniformly."""
    del config, hyperparams
    keys = jax.random.split(key, queries)
    cells = jax.vmap(lambda key: random_child(key, SPACE))(keys)
    rows = rows_of(table, cells)
    return TableRun(rows=rows, answer=incumbents(table, rows)[-1])


def ageing_run(
    table: BenchmarkTable,
    config: AgeingConfig,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """Ageing evolution: the answer is the best of all evaluated cells."""
    del hyperparams
    edges_of_nodes = range(1, SPACE.num_nodes + 1)
    evolution = ageing_evolution(
        SPACE.num_edges,
        len(SPACE.primitives),
        config.population,
        config.tournament,
        groups=edges_of_nodes if config.place == "node_first" else None,
    )

    def query(state, key):
        cell = evolution.ask(key, state)
        row = table.row_of[code_of(cell)]
        return evolution.tell(state, cell, 1.0 - table.valid[row]), row

    _, rows = lax.scan(query, evolution.init(), jax.random.split(key, queries))
    return TableRun(rows=rows, answer=incumbents(table, rows)[-1])


def incumbents(table: BenchmarkTable, rows: Array) -> Array:
    """Row of the best validation accuracy among the first q rows, q = 1 ... Q; [Q]."""
    valid = table.valid[rows]
    best = lax.cummax(valid)
    before = jnp.concatenate([jnp.full((1,), -jnp.inf), best[:-1]])
    position = jnp.where(valid > before, jnp.arange(len(rows)), 0)
    return rows[lax.cummax(position)]
