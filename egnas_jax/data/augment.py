"""Pixels to network inputs, on the device: crop, flip, colours, normalise, cutout.

The recipe of the DARTS family, with torchvision's conventions: the border that a crop
brings in is black before normalisation, and a cut-out square is 0 after it. Image i of
a batch draws from fold_in(key, i): what happens to it depends on no other image.

Source: `_data_transforms_cifar10` and `Cutout` of the reference's utils.
Dims: N images, H, W height and width in pixels, C channels.
"""

import jax
import jax.numpy as jnp

from egnas_jax.data.colour import jitter
from egnas_jax.data.config import DataConfig
from egnas_jax.types import Array, Key

COLOUR = 3  # beside the three children of an image's key, which came before it


def normalise(images: Array, mean: tuple, std: tuple) -> Array:
    """(pixel / 255 - mean) / std per channel.

    Args:
      images: u8[..., H, W, C].
      mean, std: C numbers each, of pixels in [0, 1].

    Returns:
      f32 of the same shape.
    """
    return _standardise(_unit(images), mean, std)


def _unit(images):
    """f32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def _standardise(images, mean, std):
    shape = (1,) * (images.ndim - 1) + (images.shape[-1],)
    mean = jnp.asarray(mean, jnp.float32).reshape(shape)
    std = jnp.asarray(std, jnp.float32).reshape(shape)
    return (images - mean) / std


def augment(
    key: Key, images: Array, config: DataConfig, mean: tuple, std: tuple
) -> Array:
    """Training images, each varied at random as `config` says, and normalised.

    Args:
      key: of this batch.
      images: u8[N, H, W, C].
      config: `pad`, `flip`, `colour_jitter` and `cutout` are used; static.
      mean, std: as in `normalise`.

    Returns:
      f32[N, H, W, C].
    """

    def vary(index, image):
        own = jax.random.fold_in(key, index)
        key_crop, key_flip, key_cutout = jax.random.split(own, 3)
        if config.pad:
            image = _shift(key_crop, image, config.pad)
        if config.flip:
            mirrored = jax.random.bernoulli(key_flip)
            image = jnp.where(mirrored, image[:, ::-1], image)
        image = _unit(image)
        if config.colour_jitter:
            key_colour = jax.random.fold_in(own, COLOUR)
            image = jitter(key_colour, image, config.colour_jitter)
        image = _standardise(image, mean, std)
        return _cut_out(key_cutout, image, config.cutout) if config.cutout else image

    # fold_in by position, not split by count: the first images of a longer batch
    # draw the same.
    return jax.vmap(vary)(jnp.arange(images.shape[0], dtype=jnp.uint32), images)


def _shift(key, image, pad):
    """A crop of the original size from the image in a black border of `pad`."""
    offset = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    bordered = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    start = (offset[0], offset[1], jnp.zeros_like(offset[0]))
    return jax.lax.dynamic_slice(bordered, start, image.shape)


def _cut_out(key, image, side):
    """Zeroes a square about a random pixel; what falls outside the image is lost."""
    height, width, _ = image.shape
    key_row, key_column = jax.random.split(key)
    rows = _span(jax.random.randint(key_row, (), 0, height), height, side)
    columns = _span(jax.random.randint(key_column, (), 0, width), width, side)
    inside = rows[:, None, None] & columns[None, :, None]
    return jnp.where(inside, jnp.zeros_like(image), image)


def _span(centre, length, side):
    """Which of `length` positions lie in the `side` ones from centre - side // 2."""
    first = centre - side // 2
    positions = jnp.arange(length, dtype=centre.dtype)
    return (positions >= first) & (positions < first + side)
