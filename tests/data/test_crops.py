"""Crops of photographs agree with numbers by hand and with Pillow."""

import numpy as np
import pytest
from PIL import Image

from egnas_jax.data.crops import (
    TRIES,
    CropBox,
    centre_crop,
    random_box,
    random_resized_crop,
    uniform_draws,
)

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
NEARLY_1 = 1 - 1e-9


def draws(area, aspect, down, right):
    """The same draws for every try."""
    return np.resize(np.array([area, aspect, down, right], float), 4 * TRIES)


def test_random_boxes_by_hand():
    # A quarter of the area, as 0.08 + 0.92 * draw = 0.25; a square; in two corners.
    quarter, square = 0.17 / 0.92, 0.5
    box = random_box(100, 100, draws(quarter, square, 0, 0))
    assert box == CropBox(0, 0, 50, 50)
    box = random_box(100, 100, draws(quarter, square, NEARLY_1, NEARLY_1))
    assert box == CropBox(50, 50, 50, 50)
    # The smallest area at the widest aspect: sqrt(800 * 4 / 3) by sqrt(800 * 3 / 4).
    box = random_box(100, 100, draws(0, NEARLY_1, 0, NEARLY_1))
    assert box == CropBox(0, 67, 24, 33)


def test_an_image_too_narrow_for_every_try_gets_a_centred_box():
    assert random_box(30, 900, draws(1, 0.5, 0, 0)) == CropBox(0, 430, 30, 40)
    assert random_box(900, 30, draws(1, 0.5, 0, 0)) == CropBox(430, 0, 40, 30)


def test_random_boxes_lie_in_the_image_and_cover_the_allowed_range():
    areas, aspects = [], []
    for index in range(400):
        box = random_box(375, 500, uniform_draws(0, 0, index))
        assert 0 <= box.top <= 375 - box.height and 0 <= box.left <= 500 - box.width
        areas.append(box.height * box.width / (375 * 500))
        aspects.append(box.width / box.height)
    assert 0.075 < min(areas) < 0.12 and 0.9 < max(areas) <= 1
    assert 0.73 < min(aspects) < 0.78 and 1.28 < max(aspects) < 1.36
    # Uniform in area and in log aspect, among the boxes that fit into the image.
    area, aspect = np.meshgrid(
        np.linspace(0.08, 1, 500),
        np.exp(np.linspace(np.log(3 / 4), np.log(4 / 3), 500)),
    )
    fits = (area * aspect <= 500 / 375) & (area / aspect <= 375 / 500)
    np.testing.assert_allclose(np.mean(areas), area[fits].mean(), atol=0.03)


def test_a_random_resized_crop_is_the_box_resized_by_pillow():
    top, left, height, width = random_box(40, 60, uniform_draws(3, 5, 7))
    part = Image.fromarray(PHOTO[top : top + height, left : left + width])
    expected = np.asarray(part.resize((16, 16), Image.Resampling.BILINEAR))
    for image in (PHOTO, Image.fromarray(PHOTO)):
        crop = random_resized_crop(image, 16, seed=3, epoch=5, index=7)
        np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize("other", [(4, 5, 7), (3, 6, 7), (3, 5, 8)])
def test_seed_epoch_and_index_each_change_the_crop(other):
    assert np.any(uniform_draws(*other) != uniform_draws(3, 5, 7))


def test_centre_crop_of_an_image_that_needs_no_resizing():
    # For a crop of 28 pixels the shorter side is resized to 32, which it already has.
    wide = PHOTO[:32, :48]
    np.testing.assert_array_equal(centre_crop(wide, 28), wide[2:30, 10:38])
    tall = wide.swapaxes(0, 1)
    np.testing.assert_array_equal(centre_crop(tall, 28), tall[10:38, 2:30])


def test_centre_crop_of_an_image_that_is_shrunk():
    # 512 x 1024 pixels are resized to 256 x 512, of which 224 x 224 are cut out.
    ramp = np.broadcast_to(np.linspace(0, 255, 1024), (512, 1024))
    crop = centre_crop(ramp.astype(np.uint8)[..., None], 224)
    assert crop.shape == (224, 224, 1)
    expected = [255 * 144.5 / 512, 255 * 367.5 / 512]
    np.testing.assert_allclose(crop[0, [0, -1], 0], expected, atol=1)
