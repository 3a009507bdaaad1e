"""The user's .npz is loaded unchanged, or refused with the reason."""

import io
import re

import numpy as np
import pytest

from egnas_jax.data.config import DataConfig
from egnas_jax.data.files.array_checks import is_channels_first
from egnas_jax.data.files.arrays import load_for_evaluation, load_npz
from egnas_jax.data.source import load_dataset
from egnas_jax.runs.data import dataset_from_arrays


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


NO_AUGMENTATION = DataConfig(pad=0)


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        ([0, 4], 5, "labels are 0 to 4, .* classes 1, 2, 3 have no image"),
        ([1, 2], 3, "labels are 1 to 2, which makes 3 classes, but class 0 has no"),
        ([0, 1], 2, None),
    ],
)
def test_classes_without_images_are_counted_and_noted(
    labels, num_classes, message, tmp_path, caplog
):
    pixels, labels = images(), np.array(labels * 10)
    path = write(tmp_path, images=pixels, labels=labels)
    for load in (
        lambda classes: load_npz(path, 0, classes),
        lambda classes: dataset_from_arrays(
            (pixels, labels), DataConfig(pad=0, classes=classes)
        ),
    ):
        caplog.clear()
        assert load(None).num_classes == num_classes
        if message is None:
            assert not caplog.records
        else:
            assert re.search(message, caplog.text)
            assert f"data.classes={num_classes} states it" in caplog.text
        caplog.clear()
        assert load(7).num_classes == 7 and not caplog.records


@pytest.mark.parametrize("classes", [2, 4])
def test_labels_beyond_the_stated_classes_are_refused(classes, tmp_path):
    labels = np.array([0, 4] * 10)
    message = f"image 1 has the label 4, but data.classes={classes} allows"
    with pytest.raises(ValueError, match=message):
        load_npz(write(tmp_path, images=images(), labels=labels), 0, classes)


@pytest.mark.parametrize("classes", [1, 2.0, True, "3"])
def test_a_bad_number_of_classes_is_refused(classes):
    with pytest.raises(ValueError, match="data.classes is"):
        DataConfig(classes=classes)


def test_the_number_of_classes_of_a_known_data_set_cannot_be_changed():
    with pytest.raises(ValueError, match="11, but digits has 10 classes"):
        load_dataset(DataConfig(classes=11))
    assert load_dataset(DataConfig(classes=10)).num_classes == 10


def test_a_stated_number_of_classes_allows_test_images_of_more_classes(tmp_path):
    arrays = dict(images=images(), labels=np.arange(20) % 2)
    arrays |= dict(test_images=images(3), test_labels=np.array([0, 2, 1]))
    path = write(tmp_path, **arrays)
    with pytest.raises(ValueError, match="hold class 2.*data.classes=N"):
        load_npz(path, 0)
    assert load_npz(path, 0, classes=3).test_labels.tolist() == [0, 2, 1]


def test_labels_may_be_a_column(tmp_path):
    pixels, labels = images(), np.arange(20) % 3
    flat = load_npz(write(tmp_path, images=pixels, labels=labels), 0)
    column = load_npz(write(tmp_path, images=pixels, labels=labels[:, None]), 0)
    python = dataset_from_arrays((pixels, labels[:, None]), NO_AUGMENTATION)
    for dataset in (column, python):
        np.testing.assert_array_equal(dataset.labels, flat.labels)
        np.testing.assert_array_equal(dataset.images, flat.images)


@pytest.mark.parametrize(
    "shape",
    [
        (3, 8, 8),
        (1, 28, 28),
        (12, 64, 64),  # fits as 12 rows and 64 channels
        (4, 32, 32),
        (3, 32, 48),
        (3, 48, 32),
        (16, 20, 24),
        (64, 32, 32),
    ],
)
def test_channels_first_are_refused_with_the_way_out(shape, tmp_path):
    pixels, labels = images(20, shape), np.arange(20) % 2
    with pytest.raises(ValueError, match=r"np.moveaxis\(images, 1, -1\)"):
        load_npz(write(tmp_path, images=pixels, labels=labels), 0)
    with pytest.raises(ValueError, match=r"np.moveaxis\(images, 1, -1\)"):
        dataset_from_arrays((pixels, labels), NO_AUGMENTATION)
    fixed = np.moveaxis(pixels, 1, -1)
    assert load_npz(write(tmp_path, images=fixed, labels=labels), 0).num_classes == 2


def test_channels_first_test_images_are_refused(tmp_path):
    path = write_with_test_set(tmp_path, images(6, (2, 8, 8)))
    with pytest.raises(ValueError, match=r"`test_images`.*np.moveaxis"):
        load_npz(path, 0)


@pytest.mark.parametrize(
    "shape",
    [
        *[(8, 8, channels) for channels in (1, 2, 3, 4, 7, 8, 64)],
        *[(3, 3, 3), (1, 1, 1), (1, 8, 3), (64, 32, 3), (32, 64, 3), (4, 8, 2)],
        *[(9, 9, 200), (32, 24, 7), (64, 48, 12), (3, 2, 3), (28, 28, 28)],
    ],
)
def test_channels_last_are_taken(shape):
    assert not is_channels_first((20, *shape))


@pytest.mark.parametrize(
    "shape",
    [
        *[(1, 128, 9), (2, 300, 12), (8, 64, 13), (7, 224, 8), (8, 100, 64)],
        *[(8, 12, 10), (5, 7, 6), (4, 6, 5), (20, 30, 25), (10, 13, 13)],
    ],
)
def test_a_stated_layout_overrules_the_guess(shape, tmp_path, caplog):
    pixels, labels = images(10, shape), np.arange(10) % 2
    path = write(tmp_path, images=pixels, labels=labels)
    config = DataConfig(pad=0, path=str(path), layout="NHWC")
    for dataset in (
        load_dataset(config),
        dataset_from_arrays((pixels, labels), DataConfig(pad=0, layout="NHWC")),
        evaluated(path, layout="NHWC"),
    ):
        assert dataset.images.shape[1:] == shape
    if is_channels_first(pixels.shape):
        with pytest.raises(ValueError, match="state that by data.layout=NHWC"):
            load_npz(path, 0)


@pytest.mark.parametrize("layout", ["NCHW", "nhwc", "", 1])
def test_another_layout_is_refused_with_the_way_out(layout):
    with pytest.raises(ValueError, match=r"data.layout is .*np.moveaxis\(images, 1"):
        DataConfig(layout=layout)


def test_volumes_are_noted_unless_channels_are_stated(tmp_path, caplog):
    path = write(tmp_path, images=images(20, (9, 9, 9)), labels=np.arange(20) % 2)
    load_npz(path, 0, layout="NHWC")
    assert not caplog.records
    load_npz(path, 0)
    assert "read as images of 9x9 pixels with 9 channels" in caplog.text


def test_channels_first_and_images_last_get_their_transposition(tmp_path):
    pixels, labels = images(), np.arange(20) % 2
    pixels = np.random.default_rng(0).integers(0, 256, (20, 9, 8, 3), dtype=np.uint8)
    path = write(tmp_path, images=pixels.transpose(3, 1, 2, 0), labels=labels)
    with pytest.raises(ValueError, match=r"\[C, H, W, N\].*(\(3, 1, 2, 0\))") as error:
        load_npz(path, 0)
    assert "np.transpose(images, (3, 1, 2, 0))" in str(error.value)
    path = write(
        tmp_path,
        images=np.transpose(pixels.transpose(3, 1, 2, 0), (3, 1, 2, 0)),
        labels=labels,
    )
    assert load_npz(path, 0).images.shape == (16, 9, 8, 3)


def test_images_whose_last_axis_counts_them_are_refused(tmp_path):
    path = write(tmp_path, images=images(8, (8, 3, 20)), labels=np.arange(20) % 2)
    with pytest.raises(ValueError, match=r"\[H, W, C, N\].*moveaxis\(images, -1, 0\)"):
        load_npz(path, 0)


KEYS_OF_OTHERS = {
    "keras": ("x_train", "y_train", "x_test", "y_test"),
    "scikit-learn": ("X_train", "y_train", "X_test", "y_test"),
    "medmnist": ("train_images", "train_labels", "test_images", "test_labels"),
    "numpy": ("arr_0", "arr_1", "arr_2", "arr_3"),
}


@pytest.mark.parametrize("keys", KEYS_OF_OTHERS.values(), ids=KEYS_OF_OTHERS)
@pytest.mark.parametrize("has_test", [True, False])
def test_keys_of_other_programs_give_the_same_data_set(keys, has_test, tmp_path):
    values = images(), np.arange(20) % 3, images(6), np.arange(6) % 3
    count = 4 if has_test else 2
    own = ("images", "labels", "test_images", "test_labels")
    expected = load_npz(
        write(tmp_path, **dict(zip(own[:count], values, strict=False))), 0
    )
    dataset = load_npz(
        write(tmp_path, **dict(zip(keys[:count], values, strict=False))), 0
    )
    for array, right in zip(dataset, expected, strict=True):
        np.testing.assert_array_equal(array, right)


@pytest.mark.parametrize("keys", KEYS_OF_OTHERS.values(), ids=KEYS_OF_OTHERS)
def test_grey_images_of_other_programs_get_a_channel(keys, tmp_path):
    values = images()[..., 0], (np.arange(20) % 3)[:, None]
    dataset = load_npz(write(tmp_path, **dict(zip(keys[:2], values, strict=False))), 0)
    assert dataset.images.shape == (16, 4, 8, 1) and dataset.num_classes == 3


@pytest.mark.parametrize(
    "keys",
    [("x_train", "y_train", "x_val", "y_val")]
    + [("train_images", "train_labels", "val_images", "val_labels")],
)
def test_validation_images_join_the_pool(keys, tmp_path):
    values = images(), np.arange(20) % 3, images(6), np.arange(6) % 3
    test_keys = (keys[0].replace("train", "test"), keys[1].replace("train", "test"))
    values += images(4), np.arange(4) % 3
    arrays = dict(zip((*keys, *test_keys), values, strict=True))
    dataset = load_npz(write(tmp_path, **arrays), 0)
    np.testing.assert_array_equal(dataset.images, np.concatenate(values[:4:2]))
    np.testing.assert_array_equal(dataset.labels, np.concatenate(values[1:4:2]))
    np.testing.assert_array_equal(dataset.test_images, images(4))
    arrays[keys[2]] = images(6, (4, 4, 2))
    with pytest.raises(ValueError, match="are 4x4x2 and 4x8x2; all"):
        load_npz(write(tmp_path, **arrays), 0)


def test_arrays_without_names_may_stand_in_either_order(tmp_path):
    path = write(tmp_path, arr_0=np.arange(20) % 2, arr_1=images())
    assert load_npz(path, 0).images.shape == (16, 4, 8, 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([images(), images(), np.arange(20), np.arange(20)], "unknown which"),
        ([images(), np.arange(20), images()], "unknown which"),
        ([np.arange(20), np.arange(20)], "unknown which"),
        ([images(), np.arange(20)] * 2 + [images()], "unknown which"),
        ([images()], r"no `images` and `labels` \(found: arr_0\)"),
    ],
)
def test_arrays_without_names_that_are_ambiguous_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "mine.npz", *arrays)
    with pytest.raises(ValueError, match=message):
        load_npz(tmp_path / "mine.npz", 0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("pixels", "classes"), r"\(found: classes, pixels\)"),
        (("x_train", "classes"), r"\(found: classes, x_train\)"),
        (("x_train", "y_train", "x_test"), r"no `y_test` \(found: x_test, x_train"),
        (("x_train", "y_train", "arr_0", "arr_1"), "under x_train and arr_0"),
        (("test_images", "test_labels"), "no training images"),
    ],
)
def test_the_error_lists_the_keys_of_the_file(keys, message, tmp_path):
    values = (images(), np.arange(20) % 2) * 2
    path = write(tmp_path, **dict(zip(keys, values, strict=False)))
    with pytest.raises(ValueError, match=message):
        load_npz(path, 0)


def test_own_keys_have_priority_and_other_arrays_are_not_read(tmp_path):
    arrays = dict(images=images(), labels=np.arange(20) % 2, x_train=images(3))
    path = write(tmp_path, **arrays, y_train=np.arange(3), notes=np.array([None]))
    assert len(load_npz(path, 0).images) == 16


@pytest.mark.parametrize(
    ("keys", "unread", "place"),
    [
        (
            ("images", "labels", "images_test", "labels_test"),
            "images_test, labels_test",
            "test images under test_images and test_labels",
        ),
        (
            ("images", "labels", "val_images", "val_labels"),
            "val_images, val_labels",
            "training images under images and labels; test images under",
        ),
        (
            ("x_train", "y_train", "x_valid", "y_valid"),
            "x_valid, y_valid",
            "validation images under x_val and y_val",
        ),
        (
            ("train_images", "train_labels", "x_test", "y_test"),
            "x_test, y_test",
            "test images under test_images and test_labels",
        ),
        (("arr_0", "arr_1", "names"), "names", "test images under arr_2 and arr_3"),
        (("images", "labels", "test_images", "test_labels"), None, None),
        (("x_train", "y_train", "x_val", "y_val"), None, None),
    ],
)
def test_keys_that_are_not_read_are_noted(keys, unread, place, tmp_path, caplog):
    values = images(), np.arange(20) % 2, images(6), np.arange(6) % 2
    load_npz(write(tmp_path, **dict(zip(keys, values, strict=False))), 0)
    if unread is None:
        assert not caplog.records
    else:
        assert f"mine.npz: not read: {unread}. " in caplog.text
        assert place in caplog.text


def evaluated(path, num_classes=10, is_trained_pool=lambda pool: False, layout=None):
    return load_for_evaluation(path, num_classes, 0, is_trained_pool, layout=layout)


@pytest.mark.parametrize("size", [1, 4, 20])
def test_all_images_are_evaluated_and_classes_may_be_missing(size, tmp_path, caplog):
    labels = np.minimum(np.arange(size), 3)
    dataset = evaluated(write(tmp_path, images=images(size), labels=labels))
    np.testing.assert_array_equal(dataset.test_images, images(size))
    np.testing.assert_array_equal(dataset.test_labels, labels)
    assert dataset.num_classes == 10
    assert f"8, 9 have no image among the {size} that are evaluated" in caplog.text


def test_test_images_alone_are_evaluated(tmp_path):
    arrays = dict(test_images=images(7), test_labels=np.arange(7))
    dataset = evaluated(write(tmp_path, **arrays))
    np.testing.assert_array_equal(dataset.test_images, images(7))
    arrays |= dict(images=images(), labels=np.arange(20) % 2)
    dataset = evaluated(write(tmp_path, **arrays))
    np.testing.assert_array_equal(dataset.test_images, images(7))
    np.testing.assert_array_equal(dataset.images, images())


def test_of_the_file_of_the_training_only_the_held_out_images_are_evaluated(tmp_path):
    path = write(tmp_path, images=images(), labels=np.arange(20) % 2)
    trained = load_npz(path, 0)

    def is_trained_pool(pool):
        return np.array_equal(pool.images, trained.images)

    dataset = evaluated(path, 2, is_trained_pool)
    np.testing.assert_array_equal(dataset.test_images, trained.test_images)
    np.testing.assert_array_equal(dataset.images, trained.images)


def test_labels_beyond_the_classes_of_the_network_are_refused(tmp_path):
    path = write(tmp_path, images=images(), labels=np.arange(20) % 3)
    with pytest.raises(ValueError, match="image 2 has the label 2, but the network"):
        evaluated(path, num_classes=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(labels=np.r_[[0.5], np.ones(19)]), "float64, e.g. 0.5 for image 0"),
        (dict(labels=np.r_[[np.nan], np.ones(19)]), "float64, e.g. nan for image 0"),
        (dict(labels=np.arange(20.0) % 2), "float64; labels must be whole numbers"),
        (dict(labels=np.array(["cat"] * 20)), r"numpy.unique\(labels, return_inv"),
        (dict(labels=np.array([True] * 20)), r"type bool; .*labels.astype\('int32'\)"),
        (dict(labels=np.ones((1, 20), int)), r"shape \(1, 20\).*image: labels.reshape"),
        (dict(labels=np.r_[[0, -3], np.ones(18, int)]), "holds -3 for image 1"),
        (dict(labels=np.r_[[0, 2**40], np.ones(18, int)]), "holds 1099511627776"),
        (dict(labels=np.arange(19) % 2), "19 labels for 20 images"),
        (dict(labels=np.eye(20, dtype=int)), r"\(20, 20\).*labels.argmax\(axis=1\)"),
        (dict(labels=np.ones(20, int)), "all labels are 1; at least 2 classes"),
        (dict(labels=np.r_[[900], np.zeros(19, int)]), "label 900 would mean 901"),
        (dict(images=images() / 255), "float64, but must be uint8"),
        (dict(images=np.array(["a"] * 20).reshape(20, 1, 1, 1)), "values 0 to 255.$"),
        (dict(images=images().astype(int)), r"0 to 255: images.astype\('uint8'\)"),
        (dict(images=images(20, (784,))), r"reshape\(-1, 28, 28, 1\)"),
        (dict(images=images(20, (3072,))), r"height, width, channels\)\.$"),
        (dict(labels=np.arange(2)), "2 labels for 20 images"),  # and 2 channels
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
    with pytest.raises(ValueError, match=r"no `labels` \(found: images, y\)"):
        load_npz(path, seed=0)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no.npz does not exist"):
        load_npz(tmp_path / "no.npz", seed=0)


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a file"):
        load_npz(tmp_path, seed=0)
