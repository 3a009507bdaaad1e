"""Randomly changes brightness, contrast, saturation and hue of images, on the device.

Colours are f32 in [0, 1] and are clipped after each change, as in torchvision. Unlike
torchvision, this does not round to 8 bits between the changes.

Source: `ColorJitter` of torchvision; HSV as defined by A. R. Smith (1978).
Dims: H, W height and width in pixels.
"""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.types import Array, Key

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601)
# The ImageNet recipe jitters the hue by 0.2 turns, and the other properties by 0.4.
HUE_SHARE = 0.5


def jitter(key: Key, image: Array, strength: float) -> Array:
    """Changes the four properties of one image by random amounts, in random order.

    Args:
      key: of this image.
      image: f32[H, W, 3] in [0, 1].
      strength: brightness, contrast and saturation are multiplied by factors from
        1 - strength to 1 + strength; the hue shifts by up to strength / 2 turns.
    """
    key_order, key_factors, key_hue = jax.random.split(key, 3)
    order = jax.random.permutation(key_order, jnp.arange(4))
    low, high = max(0.0, 1 - strength), 1 + strength
    factors = jax.random.uniform(key_factors, (3,), minval=low, maxval=high)
    limit = strength * HUE_SHARE
    hue_shift = jax.random.uniform(key_hue, (), minval=-limit, maxval=limit)
    return adjust_in_order(image, order, factors, hue_shift)


def adjust_in_order(
    image: Array, order: Array, factors: Array, hue_shift: Array
) -> Array:
    """Applies the four changes one after another.

    Args:
      image: f32[H, W, 3] in [0, 1].
      order: permutation of 0 brightness, 1 contrast, 2 saturation and 3 hue, i32[4].
      factors: of brightness, contrast and saturation, f32[3].
      hue_shift: in turns, f32[].
    """
    changes = (
        lambda image: adjust_brightness(image, factors[0]),
        lambda image: adjust_contrast(image, factors[1]),
        lambda image: adjust_saturation(image, factors[2]),
        lambda image: adjust_hue(image, hue_shift),
    )

    def change(image, index):
        return lax.switch(index, changes, image), None

    return lax.scan(change, image, order)[0]


def adjust_brightness(image: Array, factor: Array) -> Array:
    """Scales the brightness; factor 0 gives black."""
    return jnp.clip(image * factor, 0.0, 1.0)


def adjust_contrast(image: Array, factor: Array) -> Array:
    """Scales the contrast; factor 0 gives the mean grey of the image everywhere."""
    return _blend(image, jnp.mean(greyscale(image)), factor)


def adjust_saturation(image: Array, factor: Array) -> Array:
    """Scales the saturation; factor 0 gives the greyscale image."""
    return _blend(image, greyscale(image)[..., None], factor)


def greyscale(image: Array) -> Array:
    """The luma of every pixel, [..., 3] -> [...]."""
    return sum(weight * image[..., i] for i, weight in enumerate(LUMA))


def _blend(image, other, factor):
    return jnp.clip(factor * image + (1 - factor) * other, 0.0, 1.0)


def adjust_hue(image: Array, shift: Array) -> Array:
    """Shifts the hue of every colour by `shift` turns; value and saturation stay."""
    red, green, blue = (image[..., i] for i in range(3))
    value = jnp.max(image, axis=-1)
    chroma = value - jnp.min(image, axis=-1)
    divisor = jnp.where(chroma > 0, chroma, 1.0)
    # The hue in sixths of a turn, for each colour that may be the largest.
    of_red = (green - blue) / divisor
    of_green = 2 + (blue - red) / divisor
    of_blue = 4 + (red - green) / divisor
    hue = jnp.where(value == green, of_green, of_blue)
    hue = jnp.where(value == red, of_red, hue) + 6 * shift

    def channel(offset):
        distance = jnp.mod(offset + hue, 6.0)
        return value - chroma * jnp.clip(jnp.minimum(distance, 4 - distance), 0.0, 1.0)

    return jnp.stack([channel(offset) for offset in (5.0, 3.0, 1.0)], axis=-1)
