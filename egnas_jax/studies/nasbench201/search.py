"""Thousands of runs as one program, and what they amount to.

Dims: S settings, R runs, V numbers of queries at which a curve is kept.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.studies.nasbench201.config import TableSearchConfig
from egnas_jax.studies.nasbench201.methods import METHODS, incumbents
from egnas_jax.studies.nasbench201.table import Table
from egnas_jax.types import IMPL, Array

CHUNK = 128  # runs at a time: bounds the memory, fills the vector units


class Curves(NamedTuple):
    """Every run of one method.

    Attributes:
      valid: validation accuracy of the best cell so far, by validation, [S, R, V].
      test: test accuracy of that cell, [S, R, V].
      answer: test accuracy of the cell that the method names in the end, [S, R].
    """

    valid: np.ndarray
    test: np.ndarray
    answer: np.ndarray


def run_method(
    table: Table,
    config: TableSearchConfig,
    name: str,
    settings: list[dict[str, float]],
    shown: np.ndarray,
) -> Curves:
    """All runs of one method. Run r has the same key in every setting.

    Args:
      table: of `config.dataset`.
      config: sizes, seed and the method's own settings.
      name: of `METHODS`.
      settings: the values of swept numbers, one run of each seed for each.
      shown: numbers of queries at which the curves are kept, [V], ascending.
    """
    # the same key whichever methods are asked for and however many runs
    root = jax.random.key(config.seed, impl=IMPL)
    keys = jax.vmap(lambda run: jax.random.fold_in(root, run))(jnp.arange(config.runs))
    numbers = {
        key: jnp.asarray([setting[key] for setting in settings], jnp.float32)
        for key in settings[0]
    }
    program = _program(name, getattr(config, name), config.queries)
    shown = jnp.asarray(shown, jnp.int32) - 1
    shape = len(settings), config.runs
    total = shape[0] * shape[1]
    chunk = min(CHUNK, total)
    # runs of the last chunk that nobody asked for repeat the first ones
    index = np.arange(-(-total // chunk) * chunk).reshape(-1, chunk) % total
    setting, run = np.unravel_index(index, shape)
    found = program(
        table, shown, keys[run], {k: v[setting] for k, v in numbers.items()}
    )

    def unchunked(leaf):
        flat = np.asarray(leaf).reshape(index.size, -1)[:total]
        return flat.reshape(*shape, *leaf.shape[2:])

    return Curves(*map(unchunked, found))


@functools.cache
def _program(name, config, queries):
    """(table, shown, keys [chunks, chunk], numbers, likewise) -> the curves."""
    method = METHODS[name]

    def one(table: Table, shown: Array, key: Array, numbers: dict[str, Array]):
        run = method(table, config, queries, numbers, key)
        best = incumbents(table, run.rows)[shown]
        return table.valid[best], table.test[best], table.test[run.answer]

    def every(table, shown, keys, numbers):
        many = jax.vmap(functools.partial(one, table, shown))
        return lax.map(lambda chunk: many(*chunk), (keys, numbers))

    return jax.jit(every)
