"""Runs thousands of table searches as one compiled program.

Dims: S settings, R runs, V numbers of queries at which a curve is kept.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.studies.nasbench201.method_table import METHODS
from egnas_jax.studies.nasbench201.methods import incumbents
from egnas_jax.studies.nasbench201.table import BenchmarkTable
from egnas_jax.studies.nasbench201.table_search_config import TableSearchConfig
from egnas_jax.training.jax_settings import pinned
from egnas_jax.types import IMPL, Array

CHUNK = 128  # runs at a time: bounds the memory and fills the vector units


class Curves(NamedTuple):
    """Results of all runs of one method.

    Attributes:
      valid: validation accuracy of the best cell so far, by validation, [S, R, V].
      test: test accuracy of that cell, [S, R, V].
      answer: test accuracy of the cell that the method returns, [S, R].
    """

    valid: np.ndarray
    test: np.ndarray
    answer: np.ndarray


def log_spaced_queries(queries: int, per_decade: int = 40) -> np.ndarray:
    """Numbers of queries, evenly spaced on a log scale, from 1 to `queries`."""
    points = np.logspace(0, np.log10(queries), 1 + int(per_decade * np.log10(queries)))
    return np.unique(np.append(np.round(points).astype(int), [1, queries]))


@pinned()
def run_method(
    table: BenchmarkTable,
    config: TableSearchConfig,
    name: str,
    settings: list[dict[str, float]],
    at_queries: np.ndarray,
) -> Curves:
    """All runs of one method. Run r has the same key in every setting.

    Args:
      table: results on `config.dataset`.
      config: sizes, seed and the method's options.
      name: a name in `METHODS`.
      settings: values of the swept hyperparameters.
      at_queries: numbers of queries at which the curves are kept, [V], ascending.
    """
    # A run's key depends neither on the method nor on the number of runs.
    root = jax.random.key(config.seed, impl=IMPL)
    keys = jax.vmap(lambda run: jax.random.fold_in(root, run))(jnp.arange(config.runs))
    hyperparams = {
        key: jnp.asarray([setting[key] for setting in settings], jnp.float32)
        for key in settings[0]
    }
    program = _program(name, getattr(config, name), config.queries)
    positions = jnp.asarray(at_queries, jnp.int32) - 1
    shape = len(settings), config.runs
    total = shape[0] * shape[1]
    chunk = min(CHUNK, total)
    # the last chunk is filled with repetitions of the first runs
    index = np.arange(-(-total // chunk) * chunk).reshape(-1, chunk) % total
    setting, run = np.unravel_index(index, shape)
    of_runs = {key: values[setting] for key, values in hyperparams.items()}
    results = program(table, positions, keys[run], of_runs)

    def unchunked(leaf):
        flat = np.asarray(leaf).reshape(index.size, -1)[:total]
        return flat.reshape(*shape, *leaf.shape[2:])

    return Curves(*map(unchunked, results))


@functools.cache
def _program(name: str, config, queries: int):
    """Compiles (table, positions, keys [chunks, chunk], hyperparams) -> the curves."""
    method = METHODS[name]

    def run(
        table: BenchmarkTable,
        positions: Array,
        key: Array,
        hyperparams: dict[str, Array],
    ):
        searched = method(table, config, queries, hyperparams, key)
        best = incumbents(table, searched.rows)[positions]
        return table.valid[best], table.test[best], table.test[searched.answer]

    def run_all(table, positions, keys, hyperparams):
        run_chunk = jax.vmap(functools.partial(run, table, positions))
        return lax.map(lambda chunk: run_chunk(*chunk), (keys, hyperparams))

    return jax.jit(run_all)
