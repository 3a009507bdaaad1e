"""Computes batch norm's moments over images that are spread over several devices.

`jax.shard_map` over the mesh axis `IMAGES` gives every device an equal share of the
images. Each norm then needs the moments of all shares; otherwise the result would
differ from that of a single device. Whether there are shares is read from the enclosing
`shard_map`, as `lax.psum` does, so no layer has to pass it on.

Dims: S shares, one per device.
"""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.types import Array

IMAGES = "images"  # name of the mesh axis


def num_shares() -> int:
    """S of the enclosing `jax.shard_map`; 1 where it does not shard the images."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[IMAGES] if IMAGES in mesh.manual_axes else 1


def all_reduce_moments(mean: Array, var: Array) -> tuple[Array, Array]:
    """Combines the mean and variance of equal shares to those of the whole batch.

    Each norm needs one all-gather. Every device adds the parts in the same order, so
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
