"""Changes of colour agree with Pillow and the standard library."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from egnas_jax.data import colour

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
IMAGE = jnp.asarray(PIXELS, jnp.float32) / 255


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
@pytest.mark.parametrize(
    "adjust, enhancer",
    [
        (colour.adjust_brightness, ImageEnhance.Brightness),
        (colour.adjust_contrast, ImageEnhance.Contrast),
        (colour.adjust_saturation, ImageEnhance.Color),
    ],
)
def test_factors_mean_the_same_as_in_pillow(adjust, enhancer, factor):
    expected = np.asarray(enhancer(Image.fromarray(PIXELS)).enhance(factor)) / 255
    # Pillow rounds greys, their mean and the result to whole numbers.
    np.testing.assert_allclose(adjust(IMAGE, factor), expected, atol=2.01 / 255)


@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.1, 0.5])
def test_hues_shift_as_in_the_standard_library(shift):
    greys = jnp.full((1, 7, 3), 0.3)
    primaries = jnp.eye(3)[None, [0, 1, 2, 0, 1, 2, 0]]
    image = jnp.concatenate([IMAGE, greys, primaries])

    def by_colorsys(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, pixel))
        return colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)

    expected = np.apply_along_axis(by_colorsys, -1, np.asarray(image))
    np.testing.assert_allclose(colour.adjust_hue(image, shift), expected, atol=1e-5)


def test_jitter_changes_only_the_brightness_of_a_grey_image():
    keys = jax.random.split(jax.random.key(0), 300)
    grey = jnp.full((2, 2, 3), 0.5)
    jittered = jax.vmap(lambda key: colour.jitter(key, grey, 0.4))(keys)
    first_value = np.broadcast_to(jittered[:, :1, :1, :1], jittered.shape)
    np.testing.assert_allclose(jittered, first_value, atol=1e-6)
    factors = np.asarray(jittered[:, 0, 0, 0]) / 0.5
    assert 0.6 <= factors.min() < 0.62 and 1.38 < factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 0.05


def test_the_four_changes_are_applied_in_the_given_order():
    factors, shift = jnp.array([1.3, 0.7, 1.4]), jnp.array(0.1)
    mixed, in_sequence = (
        colour.adjust_in_order(IMAGE, jnp.array(order), factors, shift)
        for order in ([2, 0, 3, 1], [0, 1, 2, 3])
    )
    expected = colour.adjust_brightness(colour.adjust_saturation(IMAGE, 1.4), 1.3)
    expected = colour.adjust_contrast(colour.adjust_hue(expected, 0.1), 0.7)
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    assert np.abs(mixed - in_sequence).max() > 0.05


def test_hues_shift_by_half_the_strength_at_most():
    keys = jax.random.split(jax.random.key(1), 200)
    red = jnp.array([0.5, 0.4, 0.4]).reshape(1, 1, 3)  # pale, so nothing is clipped
    jittered = jax.vmap(lambda key: colour.jitter(key, red, 0.4)[0, 0])(keys)
    hues = np.array([colorsys.rgb_to_hsv(*map(float, pixel))[0] for pixel in jittered])
    hues = (hues + 0.5) % 1 - 0.5
    assert -0.2 - 1e-5 <= hues.min() < -0.18 and 0.18 < hues.max() <= 0.2 + 1e-5
