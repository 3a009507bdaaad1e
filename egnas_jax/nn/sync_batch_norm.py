"""A batch whose images lie on several devices: what batch norm must exchange.

`jax.shard_map` over the axis `IMAGES` gives every device an equal share of the images.
Each norm then needs the moments of all shares, or the result would be another one than
on a single device. That there are shares is read from the enclosing `shard_map`, as
`lax.psum` reads it, so that no layer carries it.

Dims: S shares, one on a device.
"""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.types import Array

IMAGES = "images"  # the axis of a mesh


def num_shares() -> int:
    """S, by the enclosing `jax.shard_map`; 1 where there is none over images."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[IMAGES] if IMAGES in mesh.manual_axes else 1


def joint_moments(mean: Array, var: Array) -> tuple[Array, Array]:
    """Mean and variance of all shares from those of each (of equal sizes).

    One exchange a norm, whose parts are added in the same order on every device: the
    devices' weights stay equal to the bit. The spread of the means is added to the mean
    of the variances, which cancels nothing.
    """
    if num_shares() == 1:
        return mean, var
    means, variances = jnp.unstack(
        lax.all_gather(jnp.stack([mean, var]), IMAGES), axis=1
    )
    mean = jnp.mean(means, axis=0)
    return mean, jnp.mean(variances + (means - mean[None]) ** 2, axis=0)


def joint_sums(*parts: Array) -> tuple[Array, ...]:
    """Arrays of one shape, each added up over the shares, in one exchange."""
    if num_shares() == 1:
        return parts
    return tuple(lax.psum(jnp.stack(parts), IMAGES))
