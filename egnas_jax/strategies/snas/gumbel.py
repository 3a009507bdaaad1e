"""Samples mixings by the Gumbel-softmax, and cools its temperature.

Source: SNAS (Xie et al., ICLR 2019), formula (5); Temp_Scheduler of its reference.

Dims: E edges, K primitives.
"""

import jax
import jax.numpy as jnp

from egnas_jax.types import Array, Key


def gumbel_softmax(
    log_alpha: dict[str, Array], noise: dict[str, Array], temperature: Array | float
) -> dict[str, Array]:
    """Returns softmax((log alpha + noise) / temperature) of every edge.

    Args:
      log_alpha: cell kind -> f32[E, K].
      noise: Gumbel noise of the same shapes, see `gumbel_noise`.
      temperature: the lower, the closer a row is to one-hot.

    Returns:
      cell kind -> f32[E, K].
    """
    return {
        kind: jax.nn.softmax((rows + noise[kind]) / temperature, axis=-1)
        for kind, rows in log_alpha.items()
    }


def gumbel_noise(key: Key, log_alpha: dict[str, Array]) -> dict[str, Array]:
    """Draws one sample for each kind of cell, which all its cells share.

    Args:
      key: consumed.
      log_alpha: cell kind -> f32[E, K], for the shapes.
    """
    keys = jax.random.split(key, len(log_alpha))
    return {
        kind: jax.random.gumbel(key_kind, rows.shape)
        for (kind, rows), key_kind in zip(log_alpha.items(), keys, strict=True)
    }


def temperature_of(
    epoch: Array | int, first: Array | float, last: Array | float, epochs: Array | float
) -> Array:
    """Returns the temperature of an epoch, which falls on a line and then stays.

    The reference advances its schedule once before epoch 0, so epoch e has the value of
    e + 1, and the last of `epochs` epochs has `last`.

    Args:
      epoch: from 0.
      first, last: temperatures at the ends of the line.
      epochs: length of the line.
    """
    done = jnp.minimum((jnp.float32(epoch) + 1.0) / epochs, 1.0)
    return jnp.float32(first + (last - first) * done)
