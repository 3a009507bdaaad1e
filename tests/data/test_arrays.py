"""The user's .npz is loaded unchanged, or refused with the reason."""

import io

import numpy as np
import pytest

from egnas_jax.data.files.arrays import load_npz


def images(size=20, shape=(4, 8, 2)):
    return np.random.default_rng(0).integers(0, 256, (size, *shape), dtype=np.uint8)


def write(tmp_path, **arrays):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return path


def write_with_test_set(tmp_path, test_images):
    return write(
        tmp_path,
        images=images(),
        labels=np.arange(20) % 3,
        test_images=test_images,
        test_labels=np.arange(len(test_images)) % 3,
    )


def test_without_test_images_a_fifth_is_held_out(tmp_path):
    pixels, labels = images(), np.arange(20) % 2
    dataset = load_npz(write(tmp_path, images=pixels, labels=labels), seed=3)
    assert dataset.name == "mine"
    assert dataset.images.shape == (16, 4, 8, 2)
    assert dataset.test_images.shape == (4, 4, 8, 2)
    assert dataset.labels.dtype == dataset.test_labels.dtype == np.int32
    both = np.concatenate([dataset.images, dataset.test_images])
    assert {image.tobytes() for image in both} == {image.tobytes() for image in pixels}


def test_test_images_of_the_file_are_the_test_set(tmp_path):
    dataset = load_npz(write_with_test_set(tmp_path, images(6)), seed=0)
    np.testing.assert_array_equal(dataset.images, images())
    np.testing.assert_array_equal(dataset.test_images, images(6))
    assert dataset.num_classes == 3


def test_mean_and_std_do_not_depend_on_the_test_images(tmp_path):
    path = write_with_test_set(tmp_path, np.zeros_like(images(6)))
    dataset = load_npz(path, seed=0)
    pixels = images().astype(np.float64) / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)), rtol=1e-9)


def test_a_constant_channel_has_a_positive_std(tmp_path):
    constant = np.full((20, 4, 4, 1), 7, np.uint8)
    path = write(tmp_path, images=constant, labels=np.arange(20) % 2)
    dataset = load_npz(path, seed=0)
    assert dataset.mean == pytest.approx((7 / 255,))
    assert dataset.std == (1e-3,)


def test_a_class_without_images_is_counted(tmp_path):
    labels = np.array([0, 4] * 10)
    assert load_npz(write(tmp_path, images=images(), labels=labels), 0).num_classes == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(labels=np.r_[[0.5], np.ones(19)]), "float64, e.g. 0.5 for image 0"),
        (dict(labels=np.r_[[np.nan], np.ones(19)]), "float64, e.g. nan for image 0"),
        (dict(labels=np.arange(20.0) % 2), "float64; labels must be whole numbers"),
        (dict(labels=np.array(["cat"] * 20)), "labels must be whole numbers"),
        (dict(labels=np.r_[[0, -3], np.ones(18, int)]), "holds -3 for image 1"),
        (dict(labels=np.r_[[0, 2**40], np.ones(18, int)]), "holds 1099511627776"),
        (dict(labels=np.arange(19) % 2), "19 labels for 20 images"),
        (dict(labels=np.eye(20, dtype=int)), r"shape \(20, 20\), but must be \[N\]"),
        (dict(labels=np.ones(20, int)), "all labels are 1; at least 2 classes"),
        (dict(labels=np.r_[[900], np.zeros(19, int)]), "label 900 would mean 901"),
        (dict(images=images() / 255), "float64, but must be uint8"),
        (dict(images=images()[..., 0]), r"\(20, 4, 8\), but must be \[N, H, W, C\]"),
        (dict(images=images(0), labels=np.zeros(0, int)), "at least one image"),
        (dict(images=images(4), labels=np.arange(4) % 2), "4 image.*at least 5"),
        (dict(images=np.array([None] * 20)), "allow_pickle=False"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, change, message):
    arrays = dict(images=images(), labels=np.arange(20) % 2) | change
    with pytest.raises(ValueError, match=message):
        load_npz(write(tmp_path, **arrays), seed=0)


@pytest.mark.parametrize(
    ("test_arrays", "message"),
    [
        (dict(test_images=images(4)), "no `test_labels`"),
        (dict(test_labels=np.arange(4)), "no `test_images`"),
        (
            dict(test_images=images(2, (8, 8, 2)), test_labels=np.arange(2)),
            "test_images are 8x8x2, but images are 4x8x2",
        ),
        (dict(test_images=images(2), test_labels=np.array([0, 7])), "hold class 7"),
    ],
)
def test_a_bad_test_set_is_refused(tmp_path, test_arrays, message):
    path = write(tmp_path, images=images(), labels=np.arange(20) % 2, **test_arrays)
    with pytest.raises(ValueError, match=message):
        load_npz(path, seed=0)


def npz_bytes():
    file = io.BytesIO()
    np.savez(file, images=images(), labels=np.arange(20) % 2)
    return file.getvalue()


def npy_bytes():
    file = io.BytesIO()
    np.save(file, images())
    return file.getvalue()


def with_a_flipped_bit(data):
    """Changes one pixel, so that the checksum of the zip file is wrong."""
    index = len(data) // 3
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"label,pixel\n1,2\n", "is not an .npz file"),
        (npy_bytes(), "is not an .npz file"),
        (npz_bytes()[:-40], "is not an .npz file, or is truncated"),
        (with_a_flipped_bit(npz_bytes()), "cannot be read: Bad CRC"),
    ],
    ids=["empty", "text", "npy", "truncated", "flipped bit"],
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path, data, message):
    path = tmp_path / "mine.npz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_npz(path, seed=0)


def test_the_error_names_the_missing_key_and_the_present_ones(tmp_path):
    path = write(tmp_path, images=images(), y=np.arange(20))
    with pytest.raises(ValueError, match=r"no `labels` \(found: images\)"):
        load_npz(path, seed=0)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no.npz does not exist"):
        load_npz(tmp_path / "no.npz", seed=0)


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a file"):
        load_npz(tmp_path, seed=0)
