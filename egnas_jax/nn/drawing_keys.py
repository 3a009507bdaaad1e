"""Gives what draws random numbers in a network its keys: primitives and dropout.

The key of an edge follows from the key of the pass, the cell, the state that the edge
leaves, the primitive and the edge, so that no two of them draw alike. A pass that is
given no key has a constant one: evaluation is a function of weights and images, all
individuals of a population see the same numbers, and a repetition gives the same
result.

Networks without such primitives use no key, and their programs hold nothing of it.

Dims: S edges that leave one state.
"""

import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.sync_batch_norm import IMAGES, num_shares
from egnas_jax.types import IMPL, Array, Key


def pass_key(key: Key | None) -> Key:
    """Returns the key that the primitives of one pass draw by.

    Args:
      key: of the pass, which other draws may use too; None: the constant one.
    """
    root = jax.random.key(0, impl=IMPL) if key is None else key
    return _named(root, "primitives")


def within(key: Key | None, index: Array | int) -> Key | None:
    """Returns the key of one cell of a pass, or of one state of that cell.

    Args:
      key: of the pass or the cell; None: nothing draws.
      index: of the cell or the state.
    """
    return None if key is None else jax.random.fold_in(key, index)


def edge_keys(key: Key, name: str, edges: Sequence[int]) -> Key:
    """Returns a key for each of S edges that leave one state, [S].

    Args:
      key: of the state.
      name: of the primitive.
      edges: positions of the edges.
    """
    named = _named(key, name)
    return jax.vmap(lambda edge: jax.random.fold_in(named, edge))(jnp.asarray(edges))


def of_share(key: Key) -> Key:
    """Returns the key of a device's share of a batch; the same where there is one."""
    if num_shares() == 1:
        return key
    return jax.random.fold_in(key, lax.axis_index(IMAGES))


def _named(key, name):
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
