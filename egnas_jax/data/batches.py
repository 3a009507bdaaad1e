"""Which images make up which batch: pure functions of a key and an epoch.

No iterator has a state to save: the order of epoch e is drawn from fold_in(key, e), so
a resumed run sees the batches that an uninterrupted one sees.

Dims: N images of the data set, B images of a batch.
"""

import jax
import jax.numpy as jnp

from egnas_jax.types import Array, Key


def check_batch_size(
    batch_size: int, num_images: int, what: str = "batch_size"
) -> None:
    """Refuses batches that no epoch could fill.

    Args:
      batch_size: images of a batch.
      num_images: images to draw from.
      what: the setting, as the message calls it.

    Raises:
      ValueError: not a whole number from 1 to `num_images`.
    """
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
    if not whole or not 1 <= batch_size <= num_images:
        raise ValueError(
            f"{what} is {batch_size!r}; allowed is 1 to {num_images}, the number of "
            f"images to draw from. Set {what} to less or use more images."
        )


def num_steps(num_images: int, batch_size: int, keep_last: bool) -> int:
    """Batches of an epoch; `keep_last` counts a short last one."""
    full, rest = divmod(num_images, batch_size)
    return full + (keep_last and rest > 0)


def epoch_permutation(key: Key, num_images: int, epoch: Array | int) -> Array:
    """Order of all images in an epoch, i32[N].

    Slices of `batch_size` are its batches; a last short one is the remainder.

    Args:
      key: of the data order of a run.
      num_images: N, static.
      epoch: from 0; may be traced.
    """
    images = jnp.arange(num_images, dtype=jnp.int32)
    return jax.random.permutation(jax.random.fold_in(key, epoch), images)


def draw_batch(key: Key, num_images: int, size: int) -> Array:
    """Distinct images of one random batch, i32[size].

    Args:
      key: consumed.
      num_images: N, static.
      size: static, at most `num_images`.
    """
    images = jnp.arange(num_images, dtype=jnp.int32)
    return jax.random.permutation(key, images)[:size]
