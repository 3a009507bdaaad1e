"""Computes batch norm's moments over images that are divided into equal shares.

Each norm needs the moments of all shares; otherwise the result would differ from that
of an undivided batch. Whether there are shares is read from the axis `IMAGES` of the
enclosing trace, as `lax.psum` does, so no layer has to pass it on. A share is that of a
device (`training.devices.over_images`) or a shard (`training.shards.over_images`).

Dims: S shares.
"""

import jax.numpy as jnp
from jax import lax

from egnas_jax.types import Array

IMAGES = "images"  # name of the axis of the shares


def num_shares() -> int:
    """S of the enclosing trace; 1 where it has no axis `IMAGES`."""
    try:
        return lax.axis_size(IMAGES)
    except NameError:  # JAX's error for an unbound axis
        return 1


def all_reduce_moments(mean: Array, var: Array) -> tuple[Array, Array]:
    """Combines the mean and variance of equal shares to those of the whole batch.

    Each norm needs one all-gather. Every share adds the parts in the same order, so
    the weights stay bit for bit equal on all devices. The variance of the means is
    added to the mean of the variances, which cancels no digits.
    """
    if num_shares() == 1:
        return mean, var
    means, variances = jnp.unstack(
        lax.all_gather(jnp.stack([mean, var]), IMAGES), axis=1
    )
    mean = jnp.mean(means, axis=0)
    return mean, jnp.mean(variances + (means - mean[None]) ** 2, axis=0)


def all_reduce_sums(*parts: Array) -> tuple[Array, ...]:
    """Sums each of several arrays of one shape over the shares, in one all-reduce."""
    if num_shares() == 1:
        return parts
    return tuple(lax.psum(jnp.stack(parts), IMAGES))
