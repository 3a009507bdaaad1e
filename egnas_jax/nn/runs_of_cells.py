"""Runs equal cells one after another, as one compiled body or cell by cell.

Dims: G equal cells in a run.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import intermediates
from egnas_jax.types import PyTree


def run_cells(
    cell: Callable, states: PyTree, scanned: PyTree, *, looped: bool
) -> tuple[PyTree, PyTree]:
    """Runs equal cells one after another.

    Args:
      cell: (states, arrays of a cell) -> new states, new batch_stats.
      states: what the first cell reads of the cells before it.
      scanned: parameters, batch_stats and indices of the cells, each leaf [G, ...].
      looped: whether they share one compiled body.

    Returns:
      The last states and the new batch_stats, each leaf [G, ...].
    """
    size, new_stats = len(scanned[-1]), []
    if size > 1 and looped and not intermediates.is_read():
        return lax.scan(cell, states, scanned)
    for index in range(size):
        arrays = jax.tree.map(lambda leaf, i=index: leaf[i], scanned)
        states, cell_stats = cell(states, arrays)
        new_stats.append(jax.tree.map(lambda leaf: leaf[None], cell_stats))
    return states, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *new_stats)
