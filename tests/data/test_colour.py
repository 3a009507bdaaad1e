"""Changes of colours against Pillow and the standard library."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from egnas_jax.data import colour

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
UNIT = jnp.asarray(PIXELS, jnp.float32) / 255


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
@pytest.mark.parametrize(
    "change, enhancer",
    [
        (colour.brighten, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturate, ImageEnhance.Color),
    ],
)
def test_factors_mean_what_they_mean_to_pillow(change, enhancer, factor):
    expected = np.asarray(enhancer(Image.fromarray(PIXELS)).enhance(factor)) / 255
    # Pillow rounds greys, their mean, and results to whole numbers of 255
    np.testing.assert_allclose(change(UNIT, factor), expected, atol=2.01 / 255)


@pytest.mark.parametrize("turn", [-0.2, 0.0, 0.1, 0.5])
def test_hues_turn_as_in_the_standard_library(turn):
    greys = jnp.full((1, 7, 3), 0.3)
    image = jnp.concatenate([UNIT, greys, jnp.eye(3)[None, [0, 1, 2, 0, 1, 2, 0]]])

    def by_hand(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, pixel))
        return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)

    expected = np.apply_along_axis(by_hand, -1, np.asarray(image))
    np.testing.assert_allclose(colour.turn_hue(image, turn), expected, atol=1e-5)


def test_of_a_grey_image_only_the_brightness_changes():
    keys = jax.random.split(jax.random.key(0), 300)
    grey = jnp.full((2, 2, 3), 0.5)
    found = jax.vmap(lambda key: colour.jitter(key, grey, 0.4))(keys)
    first = np.broadcast_to(found[:, :1, :1, :1], found.shape)
    np.testing.assert_allclose(found, first, atol=1e-6)
    factors = np.asarray(found[:, 0, 0, 0]) / 0.5
    assert 0.6 <= factors.min() < 0.62 and 1.38 < factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 0.05


def test_the_four_changes_follow_their_order():
    factors, turn = jnp.array([1.3, 0.7, 1.4]), jnp.array(0.1)
    one, other = (
        colour.recolour(UNIT, jnp.array(order), factors, turn)
        for order in ([2, 0, 3, 1], [0, 1, 2, 3])
    )
    expected = colour.brighten(colour.saturate(UNIT, 1.4), 1.3)
    expected = colour.contrast(colour.turn_hue(expected, 0.1), 0.7)
    np.testing.assert_allclose(one, expected, atol=1e-6)
    assert np.abs(one - other).max() > 0.05


def test_hues_turn_by_half_the_strength_at_most():
    keys = jax.random.split(jax.random.key(1), 200)
    red = jnp.array([0.5, 0.4, 0.4]).reshape(1, 1, 3)  # pale: nothing is clipped
    turned = jax.vmap(lambda key: colour.jitter(key, red, 0.4)[0, 0])(keys)
    hues = np.array([colorsys.rgb_to_hsv(*map(float, pixel))[0] for pixel in turned])
    hues = (hues + 0.5) % 1 - 0.5
    assert -0.2 - 1e-5 <= hues.min() < -0.18 and 0.18 < hues.max() <= 0.2 + 1e-5
