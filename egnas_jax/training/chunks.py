"""Processes the rows of arrays in chunks, so that memory is bounded.

Dims: n rows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.types import Array, PyTree


def chunked(tree: PyTree, size: int, chunk: int) -> tuple[PyTree, int]:
    """Returns leaves [size, ...] as [chunks, chunk, ...], and the number of chunks.

    Rows that the last chunk lacks are copies of the last row, so that all chunks have
    one shape and a loop over them compiles once.
    """
    number = -(-size // chunk)

    def split(leaf):
        spare = number * chunk - size
        filler = jnp.broadcast_to(leaf[-1:], (spare, *leaf.shape[1:]))
        return jnp.concatenate([leaf, filler]).reshape(number, chunk, *leaf.shape[1:])

    return jax.tree.map(split, tree), number


def map_in_chunks(
    function: Callable[[PyTree], Array], tree: PyTree, chunk: int
) -> Array:
    """Returns a number for each row, f32[n], of which `chunk` are computed at a time.

    Args:
      function: (row) -> f32[].
      tree: leaves [n, ...].
      chunk: rows that are vectorised; 1: none are.
    """
    if chunk == 1:
        return lax.map(function, tree)
    size = len(jax.tree.leaves(tree)[0])
    chunks, _ = chunked(tree, size, min(chunk, size))
    return lax.map(jax.vmap(function), chunks).reshape(-1)[:size]
