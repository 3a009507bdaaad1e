"""What is done to the pixels of a training image, checked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.data.augment import augment, normalise
from egnas_jax.data.config import DataConfig

KEY = jax.random.key(0)
MEAN, STD = (0.5, 0.25, 0.75), (0.5, 0.25, 0.125)
SIDE = 8


def config(**options):
    return DataConfig(**(dict(pad=0, flip=False, cutout=0) | options))


def apply(images, settings, key=KEY):
    return np.asarray(
        jax.jit(lambda key, images: augment(key, images, settings, MEAN, STD))(
            key, images
        )
    )


def batch(size):
    rng = np.random.default_rng(0)
    # From 1: no pixel is the black of the border.
    return rng.integers(1, 256, (size, SIDE, SIDE, 3), dtype=np.uint8)


def by_hand(images):
    return ((images / 255.0 - np.array(MEAN)) / np.array(STD)).astype(np.float32)


def test_normalise_by_hand():
    images = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 1, 3)
    got = normalise(images, MEAN, STD)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got.ravel(), [-1.0, -0.2, 2.0], rtol=1e-5)


def test_with_all_off_images_are_only_normalised():
    np.testing.assert_allclose(
        apply(batch(4), config()), by_hand(batch(4)), rtol=1e-5, atol=1e-5
    )


def shifts_of(images, varied, pad, flip):
    """(down, right, mirrored) of each image, found by trying all."""
    bordered = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    found = []
    for source, target in zip(bordered, varied, strict=True):
        hits = [
            (i, j, mirrored)
            for i in range(2 * pad + 1)
            for j in range(2 * pad + 1)
            for mirrored in ([False, True] if flip else [False])
            if np.allclose(
                by_hand(
                    source[i : i + SIDE, j : j + SIDE][:, :: -1 if mirrored else 1]
                ),
                target,
                atol=1e-4,
            )
        ]
        assert len(hits) == 1  # the border is black before normalisation
        found += hits
    return found


@pytest.mark.parametrize("pad", [1, 2])
def test_crops_cover_every_offset_equally_often(pad):
    images = batch(600)
    found = shifts_of(images, apply(images, config(pad=pad)), pad, flip=False)
    counts = np.zeros((2 * pad + 1, 2 * pad + 1))
    for i, j, _ in found:
        counts[i, j] += 1
    expected = 600 / counts.size
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_half_of_the_images_are_mirrored():
    images = batch(400)
    found = shifts_of(images, apply(images, config(flip=True)), 0, flip=True)
    assert 150 < sum(mirrored for *_, mirrored in found) < 250


def test_crop_and_flip_are_drawn_apart():
    images = batch(400)
    found = shifts_of(images, apply(images, config(pad=1, flip=True)), 1, flip=True)
    for mirrored in (False, True):
        assert {(i, j) for i, j, m in found if m == mirrored} == {
            (i, j) for i in range(3) for j in range(3)
        }


@pytest.mark.parametrize("side", [3, 4])
def test_cutout_zeroes_a_clipped_square_about_any_pixel(side):
    images = batch(600)
    varied = apply(images, config(cutout=side))
    centres = set()
    for image, original in zip(varied, by_hand(images), strict=True):
        cut = np.all(image == 0, axis=-1)
        np.testing.assert_allclose(image[~cut], original[~cut], atol=1e-4)
        matches = []
        for row in range(SIDE):
            for column in range(SIDE):
                square = np.zeros((SIDE, SIDE), bool)
                top, left = row - side // 2, column - side // 2
                square[max(top, 0) : top + side, max(left, 0) : left + side] = True
                if np.array_equal(square, cut):
                    matches.append((row, column))
        assert len(matches) == 1
        centres |= set(matches)
    assert len(centres) == SIDE * SIDE  # missing one of 64 has odds of 1 in 200


def test_the_same_key_gives_the_same_images_and_another_others():
    settings = config(pad=2, flip=True, cutout=3)
    first = apply(batch(8), settings)
    np.testing.assert_array_equal(first, apply(batch(8), settings))
    other = apply(batch(8), settings, jax.random.key(1))
    assert not np.array_equal(first, other)


def test_an_image_depends_on_its_place_and_not_on_its_neighbours():
    settings = config(pad=2, flip=True, cutout=3)
    images = batch(8)
    whole = apply(images, settings)
    np.testing.assert_array_equal(apply(images[:5], settings), whole[:5])
    others = images.copy()
    others[1:] = 255 - others[1:]
    np.testing.assert_array_equal(apply(others, settings)[0], whole[0])


def test_images_of_a_batch_are_varied_differently():
    same = np.repeat(batch(1), 50, axis=0)
    varied = apply(same, config(pad=2, flip=True))
    assert len({image.tobytes() for image in varied}) > 20


def test_one_choice_does_not_shift_another():
    images = batch(30)
    with_flip = shifts_of(images, apply(images, config(pad=1, flip=True)), 1, True)
    without = shifts_of(images, apply(images, config(pad=1)), 1, False)
    assert [place for *place, _ in with_flip] == [place for *place, _ in without]
