"""Arrays that a caller passes are the data set that their file would be."""

import numpy as np
import pytest

from egnas_jax.data.config import DataConfig
from egnas_jax.data.files.arrays import load_npz
from egnas_jax.runs.data import dataset_from_arrays

NO_AUGMENTATION = DataConfig(pad=0)
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4, 8, 2), dtype=np.uint8)
LABELS = np.arange(20) % 2


@pytest.mark.parametrize(
    "data",
    [
        ((PIXELS, LABELS), (PIXELS[:6], np.arange(6) % 2)),  # Keras
        [[PIXELS, LABELS[:, None]], [PIXELS[:6], np.arange(6) % 2]],
        dict(
            images=PIXELS,
            labels=LABELS.tolist(),
            test_images=PIXELS[:6],
            test_labels=np.arange(6) % 2,
        ),
        dict(x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:6], y_test=[0, 1] * 3),
    ],
)
def test_data_in_python_may_come_as_keras_and_npz_files_hold_them(data):
    expected = dataset_from_arrays(
        (PIXELS, LABELS, PIXELS[:6], np.arange(6) % 2), NO_AUGMENTATION
    )
    dataset = dataset_from_arrays(data, NO_AUGMENTATION)
    for array, right in zip(dataset, expected, strict=True):
        np.testing.assert_array_equal(array, right)


def test_no_test_images_may_be_given_as_none():
    expected = dataset_from_arrays((PIXELS, LABELS), NO_AUGMENTATION)
    for data in (
        (PIXELS, LABELS, None, None),
        dict(images=PIXELS, labels=LABELS, test_images=None),
    ):
        dataset = dataset_from_arrays(data, NO_AUGMENTATION)
        np.testing.assert_array_equal(dataset.test_images, expected.test_images)


def test_lists_of_images_are_images():
    data = ([PIXELS[0], PIXELS[1]], [0, 1], [PIXELS[2], PIXELS[3]], [0, 1])
    dataset = dataset_from_arrays(data, NO_AUGMENTATION)
    np.testing.assert_array_equal(dataset.images, PIXELS[:2])


def test_an_npz_that_was_opened_is_data(tmp_path, caplog):
    path = tmp_path / "mine.npz"
    np.savez(path, images=PIXELS, labels=LABELS, notes=np.array([None]))
    with np.load(path) as file:
        dataset = dataset_from_arrays(file, NO_AUGMENTATION)
    np.testing.assert_array_equal(dataset.images, load_npz(path, 0).images)
    assert "data: not read: notes" in caplog.text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "data is of type int"),
        ((array for array in (PIXELS, LABELS)), "data is of type generator"),
        ("mine.npz", "data is of type str"),
        (PIXELS, "data is of type ndarray"),
        ((PIXELS,), "data holds 1 entries"),
        (([PIXELS[0], PIXELS[1][1:]], [0, 1]), "`images` is of type list and cannot"),
        ((PIXELS, [[0, 1], [1]]), "`labels` is of type list and cannot"),
        (((PIXELS, LABELS), None), "`images` is of type tuple and cannot"),
        (dict(pixels=PIXELS, labels=LABELS), r"no `images` \(found: labels, pixels\)"),
        ({}, "found: no array"),
    ],
)
def test_what_is_no_data_is_refused_with_the_forms(data, message):
    with pytest.raises(ValueError, match=message) as error:
        dataset_from_arrays(data, NO_AUGMENTATION)
    assert "images" in str(error.value) and "labels" in str(error.value)
