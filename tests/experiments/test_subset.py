"""A subset of a data set is the same for all runs; its images may be averaged."""

import numpy as np
import pytest


def test_pixels_of_averaged_images_are_means_of_squares(load):
    images = np.zeros((2, 4, 4, 1), np.uint8)
    images[0, :2, :2, 0] = [[10, 20], [30, 43]]  # mean 25.75
    images[1, 2:, 2:] = 255
    expected = np.zeros((2, 2, 2, 1), np.uint8)
    expected[0, 0, 0], expected[1, 1, 1] = 26, 255
    actual = load("subset").averaged(images, 2)
    assert actual.dtype == np.uint8
    np.testing.assert_array_equal(actual, expected)
    assert load("subset").averaged(images, None) is images


@pytest.mark.parametrize(("shape", "side"), [((4, 4), 3), ((4, 6), 2)])
def test_images_that_cannot_be_averaged_are_refused(load, shape, side):
    with pytest.raises(ValueError, match=f"{shape[0]} x {shape[1]} pixels .* {side}"):
        load("subset").averaged(np.zeros((1, *shape, 3), np.uint8), side)


def test_a_subset_has_a_file_for_each_side(load, tmp_path):
    """Digits: 10 classes of 8 x 8 pixels."""
    subset, files = load("subset"), {}
    for side in (None, 4):
        source = subset.locate(None, tmp_path, 100, "digits", side)
        with np.load(source.settings["data.path"]) as arrays:
            files[side] = dict(arrays)
    whole, small = files[None], files[4]
    assert whole["images"].shape[1:] == (8, 8, 1)
    assert small["images"].shape == (len(whole["images"]), 4, 4, 1)
    assert small["test_images"].shape[1:] == (4, 4, 1)
    np.testing.assert_array_equal(small["labels"], whole["labels"])
    np.testing.assert_array_equal(small["images"], subset.averaged(whole["images"], 4))
