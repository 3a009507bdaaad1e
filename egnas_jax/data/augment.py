"""Augments and normalises batches of images, on the device.

An image is cropped, flipped, colour-jittered, normalised and then cut out, as in the
DARTS family, with torchvision's conventions: the padding of a crop is black before
normalisation, and the square of a cutout is 0 after it. Image i of a batch uses
fold_in(key, i), so its augmentation does not depend on the other images.

Source: `_data_transforms_cifar10` and `Cutout` in `utils.py` of the reference code.
Dims: N images, H, W height and width in pixels, C channels.
"""

import jax
import jax.numpy as jnp

from egnas_jax.data.colour import jitter
from egnas_jax.data.config import DataConfig
from egnas_jax.types import Array, Key

# `fold_in` index of the key for colours. They do not use a fourth child of `split`,
# because split(key, 4) would change the keys of crop, flip and cutout.
COLOUR = 3


def normalise(images: Array, mean: tuple, std: tuple) -> Array:
    """(pixel / 255 - mean) / std for each channel.

    Args:
      images: u8[..., H, W, C].
      mean, std: C numbers each, of pixels scaled to [0, 1].

    Returns:
      f32 of the same shape.
    """
    return _standardise(_to_unit_range(images), mean, std)


def _to_unit_range(images):
    """Pixels as f32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def _standardise(images, mean, std):
    shape = (1,) * (images.ndim - 1) + (images.shape[-1],)
    mean = jnp.asarray(mean, jnp.float32).reshape(shape)
    std = jnp.asarray(std, jnp.float32).reshape(shape)
    return (images - mean) / std


def augment(
    key: Key, images: Array, config: DataConfig, mean: tuple, std: tuple
) -> Array:
    """Training images, randomly augmented as `config` says and then normalised.

    Args:
      key: of this batch.
      images: u8[N, H, W, C].
      config: its `pad`, `flip`, `colour_jitter` and `cutout` are used; static.
      mean, std: C numbers each, of pixels scaled to [0, 1].

    Returns:
      f32[N, H, W, C].
    """

    def augment_one(index, image):
        image_key = jax.random.fold_in(key, index)
        key_crop, key_flip, key_cutout = jax.random.split(image_key, 3)
        if config.pad:
            image = _random_crop(key_crop, image, config.pad)
        if config.flip:
            mirrored = jax.random.bernoulli(key_flip)
            image = jnp.where(mirrored, image[:, ::-1], image)
        image = _to_unit_range(image)
        if config.colour_jitter:
            key_colour = jax.random.fold_in(image_key, COLOUR)
            image = jitter(key_colour, image, config.colour_jitter)
        image = _standardise(image, mean, std)
        return _cutout(key_cutout, image, config.cutout) if config.cutout else image

    # Keys come from fold_in by index and not from split by count, so that the first
    # images of a longer batch draw the same.
    return jax.vmap(augment_one)(jnp.arange(images.shape[0], dtype=jnp.uint32), images)


def _random_crop(key, image, pad):
    """A crop of the original size from the image with a black border of `pad`."""
    offset = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    start = (offset[0], offset[1], jnp.zeros_like(offset[0]))
    return jax.lax.dynamic_slice(padded, start, image.shape)


def _cutout(key, image, side):
    """Zeroes a square around a random pixel; the square may extend past the image."""
    height, width, _ = image.shape
    key_row, key_column = jax.random.split(key)
    rows = _window(jax.random.randint(key_row, (), 0, height), height, side)
    columns = _window(jax.random.randint(key_column, (), 0, width), width, side)
    inside = rows[:, None, None] & columns[None, :, None]
    return jnp.where(inside, jnp.zeros_like(image), image)


def _window(centre, length, side):
    """Mask of the `side` positions from centre - side // 2, bool[length]."""
    first = centre - side // 2
    positions = jnp.arange(length, dtype=centre.dtype)
    return (positions >= first) & (positions < first + side)
