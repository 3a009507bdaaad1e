"""Derives the random key of every named purpose from one seed."""

import zlib

import jax
import jax.numpy as jnp

from egnas_jax.types import IMPL, Array, Key


def stream(seed: int | Array | Key, name: str) -> Key:
    """Returns the key of one named purpose: adding a purpose shifts no other.

    Args:
      seed: of all purposes, or the key that `root_key` makes of it.
      name: of the purpose.
    """
    return jax.random.fold_in(root_key(seed), zlib.crc32(name.encode()))


def root_key(seed: int | Array | Key) -> Key:
    """Returns the key from which all streams of a seed descend; a key stays as it is.

    Args:
      seed: u32[], or a key of `jax.random`.
    """
    dtype = getattr(seed, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return seed
    return jax.random.key(seed, impl=IMPL)
