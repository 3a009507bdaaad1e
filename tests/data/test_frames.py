"""Random and middle squares of photographs, by hand and against Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from egnas_jax.data.frames import (
    TRIES,
    Box,
    decode,
    middle_square,
    random_box,
    random_square,
    uniform,
)

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def draws(*first):
    return np.resize(np.array(first, float), 4 * TRIES)


def test_boxes_by_hand():
    # a quarter of the area in a square, at the far corner: .08 + .92 a = .25
    quarter, square = 0.17 / 0.92, 0.5
    assert random_box(100, 100, draws(quarter, square, 0, 0)) == Box(0, 0, 50, 50)
    last = 1 - 1e-9
    assert random_box(100, 100, draws(quarter, square, last, last)) == Box(
        50, 50, 50, 50
    )
    # the smallest area at the widest aspect: sqrt(800 * 4 / 3), sqrt(800 * 3 / 4)
    assert random_box(100, 100, draws(0, last, 0, last)) == Box(0, 67, 24, 33)


def test_an_image_that_no_crop_fits_gives_its_middle():
    assert random_box(30, 900, draws(1, 0.5, 0, 0)) == Box(0, 430, 30, 40)
    assert random_box(900, 30, draws(1, 0.5, 0, 0)) == Box(430, 0, 40, 30)


def test_boxes_lie_within_the_image_and_cover_what_they_may():
    shares, aspects = [], []
    for index in range(400):
        box = random_box(375, 500, uniform(0, 0, index))
        assert 0 <= box.top <= 375 - box.height and 0 <= box.left <= 500 - box.width
        shares.append(box.height * box.width / (375 * 500))
        aspects.append(box.width / box.height)
    assert 0.075 < min(shares) < 0.12 and 0.9 < max(shares) <= 1
    assert 0.73 < min(aspects) < 0.78 and 1.28 < max(aspects) < 1.36
    # uniform in area and the aspect's logarithm among those that fit
    area, aspect = np.meshgrid(
        np.linspace(0.08, 1, 500),
        np.exp(np.linspace(np.log(3 / 4), np.log(4 / 3), 500)),
    )
    fits = (area * aspect <= 500 / 375) & (area / aspect <= 375 / 500)
    np.testing.assert_allclose(np.mean(shares), area[fits].mean(), atol=0.03)


def test_a_random_square_is_the_box_resized_by_pillow():
    top, left, height, width = random_box(40, 60, uniform(3, 5, 7))
    part = Image.fromarray(PHOTO[top : top + height, left : left + width])
    expected = np.asarray(part.resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(random_square(PHOTO, 16, 3, 5, 7), expected)
    np.testing.assert_array_equal(
        random_square(Image.fromarray(PHOTO), 16, 3, 5, 7), expected
    )


@pytest.mark.parametrize("other", [(4, 5, 7), (3, 6, 7), (3, 5, 8)])
def test_seed_epoch_and_number_each_change_the_crop(other):
    assert np.any(uniform(*other) != uniform(3, 5, 7))


def test_the_middle_of_an_image_whose_shorter_side_fits_already():
    # 28 px come from a shorter side of 32
    wide = PHOTO[:32, :48]
    np.testing.assert_array_equal(middle_square(wide, 28), wide[2:30, 10:38])
    tall = wide.swapaxes(0, 1)
    np.testing.assert_array_equal(middle_square(tall, 28), tall[10:38, 2:30])


def test_the_middle_of_an_image_that_is_shrunk():
    # 224 of 512 x 1024 pixels: shrunk to 256 x 512
    ramp = np.broadcast_to(np.linspace(0, 255, 1024), (512, 1024))
    found = middle_square(ramp.astype(np.uint8)[..., None], 224)
    assert found.shape == (224, 224, 1)
    np.testing.assert_allclose(
        found[0, [0, -1], 0], [255 * 144.5 / 512, 255 * 367.5 / 512], atol=1
    )


def test_grey_and_cmyk_files_become_red_green_and_blue():
    for mode in ("L", "CMYK", "RGB"):
        file = io.BytesIO()
        Image.new(mode, (9, 8)).save(file, "JPEG")
        image = decode(file.getvalue())
        assert (image.mode, image.size) == ("RGB", (9, 8))
    with pytest.raises(OSError):
        decode(file.getvalue()[:60])
