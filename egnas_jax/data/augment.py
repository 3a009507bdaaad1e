"""From stored pixels to what a network sees; pure, on the device, inside the step.

Source: the CIFAR transforms of the DARTS family: zero padding of the raw image, random
crop, mirror, normalisation, cutout (DeVries & Taylor, 2017) after it.

Dims: N images, H, W sides, C channels.
"""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.data.source import DataConfig
from egnas_jax.types import Array, Key


def normalise(images: Array, mean: tuple, std: tuple) -> Array:
    """u8 [N, H, W, C] -> f32, zero mean and unit deviation per channel."""
    mean, std = (jnp.asarray(part, jnp.float32) for part in (mean, std))
    centred = images.astype(jnp.float32) / 255.0 - mean[None, None, None]
    return centred / std[None, None, None]


def augment(
    key: Key, images: Array, config: DataConfig, mean: tuple, std: tuple
) -> Array:
    """Training images: shifted, mirrored, normalised, partly cut out.

    Each image has its own key, from its place in the batch.
    """
    key_crop, key_flip, key_cutout = jax.random.split(key, 3)
    if config.pad:
        images = _crop(key_crop, images, config.pad)
    if config.flip:
        mirrored = jax.random.bernoulli(key_flip, shape=(len(images), 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    images = normalise(images, mean, std)
    return _cut(key_cutout, images, config.cutout) if config.cutout else images


def _crop(key, images, pad):
    """A window of the original size somewhere in the image padded with black."""
    count, *shape = images.shape
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    corners = jax.random.randint(key, (count, 2), 0, 2 * pad + 1)

    def one(image, corner):
        return lax.dynamic_slice(image, (corner[0], corner[1], 0), shape)

    return jax.vmap(one)(padded, corners)


def _cut(key, images, side):
    """A square of zeros around a random pixel, clipped at the borders."""
    count, height, width, _ = images.shape
    keys = jax.random.split(key)
    masks = []
    for own, size in zip(keys, (height, width), strict=True):
        centre = jax.random.randint(own, (count, 1), 0, size)
        place = jnp.arange(size)[None]
        low = centre - side // 2
        masks.append((place >= low) & (place < low + side))
    hole = masks[0][:, :, None, None] & masks[1][:, None, :, None]
    return jnp.where(hole, 0.0, images)
