"""Chooses the images of each batch by pure functions of a key and an epoch.

There is no iterator whose state would have to be saved: the order of epoch e is drawn
from fold_in(key, e), so a resumed run sees the batches of an uninterrupted one.

Dims: N images of the data set, B images of a batch.
"""

import jax
import jax.numpy as jnp

from egnas_jax.settings import is_whole
from egnas_jax.types import Array, Key


def check_batch_size(
    batch_size: int,
    num_images: int,
    what: str = "batch_size",
    advice: str | None = None,
) -> None:
    """Refuses a batch size that the images cannot fill.

    Args:
      batch_size: B.
      num_images: N.
      what: name of the setting, for the message.
      advice: what else can be set smaller, a sentence; None: the setting itself.

    Raises:
      ValueError: the batch size is not a whole number from 1 to `num_images`.
    """
    if not is_whole(batch_size) or not 1 <= batch_size <= num_images:
        advice = advice or f"Set a smaller {what}, or use more images."
        raise ValueError(
            f"{what} is {batch_size!r}; allowed is 1 to {num_images}, the number of "
            f"available images. {advice}"
        )


def num_steps(num_images: int, batch_size: int, keep_last: bool) -> int:
    """Number of batches in an epoch; `keep_last` counts a shorter last one."""
    full, rest = divmod(num_images, batch_size)
    return full + (keep_last and rest > 0)


def epoch_permutation(key: Key, num_images: int, epoch: Array | int) -> Array:
    """Order of all images in an epoch, i32[N]; consecutive slices are its batches.

    Args:
      key: of the run's data order.
      num_images: N, static.
      epoch: from 0; may be traced.
    """
    images = jnp.arange(num_images, dtype=jnp.int32)
    return jax.random.permutation(jax.random.fold_in(key, epoch), images)


def draw_batch(
    key: Key, num_images: int, size: int, place: Array | None = None
) -> Array:
    """Indices of a random batch of distinct images, i32[size].

    The batches of one key follow each other in one order of all images, which begins
    again at its end: ceil(N / size) of them hold every image.

    Args:
      key: consumed.
      num_images: N, static.
      size: static, at most `num_images`.
      place: number of the batch in that order, from 0; may be traced. None: the first.
    """
    images = jnp.arange(num_images, dtype=jnp.int32)
    order = jax.random.permutation(key, images)
    if place is None:
        return order[:size]
    return order[(place * size + jnp.arange(size)) % num_images]
