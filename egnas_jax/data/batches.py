"""Order of images: a function of key and epoch, so that no iterator has a state."""

import jax
import jax.numpy as jnp

from egnas_jax.types import Array, Key


def epoch_order(
    key: Key, epoch: int | Array, num_images: int, batch_size: int
) -> tuple[Array, Array]:
    """Full batches of an epoch, i32 [steps, batch_size], and the indices left over."""
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_images)
    full = num_images // batch_size * batch_size
    return order[:full].reshape(-1, batch_size), order[full:]


def draw_batch(key: Key, num_images: int, size: int) -> Array:
    """Indices i32 [size], drawn without replacement."""
    return jax.random.permutation(key, num_images)[:size].astype(jnp.int32)
