"""Training images are cropped, flipped, cut out and normalised as checked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.data.augment import augment, normalise
from egnas_jax.data.config import DataConfig

KEY = jax.random.key(0)
MEAN, STD = (0.5, 0.25, 0.75), (0.5, 0.25, 0.125)
SIDE = 8


def augmented(images, key=KEY, **settings):
    config = DataConfig(**(dict(pad=0) | settings))
    program = jax.jit(lambda key, images: augment(key, images, config, MEAN, STD))
    return np.asarray(program(key, images))


def random_images(size):
    rng = np.random.default_rng(0)
    # From 1, so that no pixel is as black as the padding.
    return rng.integers(1, 256, (size, SIDE, SIDE, 3), dtype=np.uint8)


def normalised_by_hand(images):
    return ((images / 255.0 - np.array(MEAN)) / np.array(STD)).astype(np.float32)


def test_normalise_by_hand():
    images = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 1, 3)
    normalised = normalise(images, MEAN, STD)
    assert normalised.dtype == jnp.float32
    np.testing.assert_allclose(normalised.ravel(), [-1.0, -0.2, 2.0], rtol=1e-5)


def test_without_augmentation_images_are_only_normalised():
    images = random_images(4)
    expected = normalised_by_hand(images)
    np.testing.assert_allclose(augmented(images), expected, rtol=1e-5, atol=1e-5)


def find_crops(images, crops, pad):
    """(row, column, mirrored) of each crop, by comparison with all possible ones."""
    # Padding is black before it is normalised.
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    choices = [
        (row, column, mirrored)
        for row in range(2 * pad + 1)
        for column in range(2 * pad + 1)
        for mirrored in (False, True)
    ]
    crop_choices = []
    for image, crop in zip(padded, crops, strict=True):
        windows = [image[i : i + SIDE, j : j + SIDE, :] for i, j, _ in choices]
        candidates = [
            window[:, ::-1] if mirrored else window
            for window, (*_, mirrored) in zip(windows, choices, strict=True)
        ]
        difference = np.abs(normalised_by_hand(np.stack(candidates)) - crop)
        (match,) = np.flatnonzero(difference.max((1, 2, 3)) < 1e-4)
        crop_choices.append(choices[match])
    return crop_choices


@pytest.mark.parametrize("pad", [1, 2])
def test_crops_cover_every_offset_equally_often(pad):
    images = random_images(600)
    counts = np.zeros((2 * pad + 1, 2 * pad + 1))
    for row, column, mirrored in find_crops(images, augmented(images, pad=pad), pad):
        counts[row, column] += 1
        assert not mirrored
    expected = 600 / counts.size
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_half_of_the_images_are_mirrored():
    images = random_images(400)
    crops = find_crops(images, augmented(images, flip=True), pad=0)
    assert 150 < sum(mirrored for *_, mirrored in crops) < 250


def test_crop_and_flip_are_independent():
    images = random_images(400)
    crops = find_crops(images, augmented(images, pad=1, flip=True), pad=1)
    assert len(set(crops)) == 3 * 3 * 2


@pytest.mark.parametrize("side", [3, 4])
def test_cutout_zeroes_a_clipped_square_around_any_pixel(side):
    images = random_images(600)
    squares = {}
    for row in range(SIDE):
        for column in range(SIDE):
            square = np.zeros((SIDE, SIDE), bool)
            top, left = row - side // 2, column - side // 2
            square[max(top, 0) : top + side, max(left, 0) : left + side] = True
            squares[square.tobytes()] = row, column
    assert len(squares) == SIDE * SIDE
    centres = set()
    originals = normalised_by_hand(images)
    for image, original in zip(augmented(images, cutout=side), originals, strict=True):
        zeroed = np.all(image == 0, axis=-1)
        np.testing.assert_allclose(image[~zeroed], original[~zeroed], atol=1e-4)
        centres.add(squares[zeroed.tobytes()])
    # 600 draws miss one of 64 pixels with a probability of 1 in 200.
    assert len(centres) == SIDE * SIDE


def test_the_key_determines_the_augmentation():
    settings = dict(pad=2, flip=True, cutout=3)
    images = random_images(8)
    first = augmented(images, **settings)
    np.testing.assert_array_equal(first, augmented(images, **settings))
    of_other_key = augmented(images, key=jax.random.key(1), **settings)
    assert not np.array_equal(first, of_other_key)


def test_an_image_depends_on_its_index_and_not_on_its_neighbours():
    settings = dict(pad=2, flip=True, cutout=3)
    images = random_images(8)
    expected = augmented(images, **settings)
    np.testing.assert_array_equal(augmented(images[:5], **settings), expected[:5])
    changed = images.copy()
    changed[1:] = 255 - changed[1:]
    np.testing.assert_array_equal(augmented(changed, **settings)[0], expected[0])


def test_images_of_a_batch_are_augmented_differently():
    copies = np.repeat(random_images(1), 50, axis=0)
    distinct = {image.tobytes() for image in augmented(copies, pad=2, flip=True)}
    assert len(distinct) > 20


def test_the_crop_of_an_image_does_not_change_when_flips_are_turned_on():
    images = random_images(30)
    with_flip = find_crops(images, augmented(images, pad=1, flip=True), pad=1)
    without = find_crops(images, augmented(images, pad=1), pad=1)
    assert [offset for *offset, _ in with_flip] == [offset for *offset, _ in without]
