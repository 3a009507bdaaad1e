"""Random changes of brightness, contrast, saturation and hue, on the device.

Colours are f32 in [0, 1] and are clipped after each change, as torchvision's are; it
rounds to 8 bits in between, which this does not.

Source: `ColorJitter` of torchvision; HSV as A. R. Smith (1978).
Dims: H, W height and width in pixels.
"""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.types import Array, Key

GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R 601-2)
HUE_SHARE = 0.5  # the recipe moves hue by 0.2 of a turn where the rest moves by 0.4


def jitter(key: Key, image: Array, strength: float) -> Array:
    """One image with its four properties changed in a random order.

    Args:
      key: of this image.
      image: f32[H, W, 3] in [0, 1].
      strength: brightness, contrast and saturation are multiplied by 1 - strength to
        1 + strength; the hue turns by at most half of it, in turns.
    """
    key_order, key_factors, key_hue = jax.random.split(key, 3)
    order = jax.random.permutation(key_order, jnp.arange(4))
    low, high = max(0.0, 1 - strength), 1 + strength
    factors = jax.random.uniform(key_factors, (3,), minval=low, maxval=high)
    most = strength * HUE_SHARE
    turn = jax.random.uniform(key_hue, (), minval=-most, maxval=most)
    return recolour(image, order, factors, turn)


def recolour(image: Array, order: Array, factors: Array, turn: Array) -> Array:
    """The four changes one after another.

    Args:
      image: f32[H, W, 3] in [0, 1].
      order: of brightness 0, contrast 1, saturation 2 and hue 3, i32[4].
      factors: of the first three, f32[3].
      turn: of the hue, f32[], in turns.
    """
    changes = (
        lambda image: brighten(image, factors[0]),
        lambda image: contrast(image, factors[1]),
        lambda image: saturate(image, factors[2]),
        lambda image: turn_hue(image, turn),
    )

    def change(image, which):
        return lax.switch(which, changes, image), None

    return lax.scan(change, image, order)[0]


def brighten(image: Array, factor: Array) -> Array:
    """Factor 0 is black."""
    return jnp.clip(image * factor, 0.0, 1.0)


def contrast(image: Array, factor: Array) -> Array:
    """Factor 0 is the image's mean grey everywhere."""
    return _blend(image, jnp.mean(grey(image)), factor)


def saturate(image: Array, factor: Array) -> Array:
    """Factor 0 is the grey image."""
    return _blend(image, grey(image)[..., None], factor)


def grey(image: Array) -> Array:
    """[..., 3] -> [...]."""
    return sum(share * image[..., i] for i, share in enumerate(GREY))


def _blend(image, other, factor):
    return jnp.clip(factor * image + (1 - factor) * other, 0.0, 1.0)


def turn_hue(image: Array, turn: Array) -> Array:
    """Every colour's hue moved by so much of a turn; its value and saturation stay."""
    red, green, blue = (image[..., i] for i in range(3))
    value = jnp.max(image, axis=-1)
    span = value - jnp.min(image, axis=-1)
    divisor = jnp.where(span > 0, span, 1.0)
    sixth = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(
            value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor
        ),
    )
    sixth = sixth + 6 * turn

    def channel(offset):
        distance = jnp.mod(offset + sixth, 6.0)
        return value - span * jnp.clip(jnp.minimum(distance, 4 - distance), 0.0, 1.0)

    return jnp.stack([channel(offset) for offset in (5.0, 3.0, 1.0)], axis=-1)
