"""Loads data sets that come as arrays: scikit-learn's digits and the user's .npz files.

Dims: N images, H, W height and width in pixels, C channels.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from egnas_jax.data.dataset import Dataset, LabelledImages, channel_statistics
from egnas_jax.data.split import hold_out

NPZ_FORM = (
    "An .npz holds `images` (uint8 [N, H, W, C]) and `labels` (whole numbers [N], from "
    "0), and may hold `test_images` and `test_labels`: "
    "numpy.savez(path, images=..., labels=...)."
)

# What numpy.load raises on files that are damaged or encrypted, that use an unknown
# compression, or whose header states a shape larger than memory.
_LOAD_ERRORS = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,  # of which NotImplementedError is one
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_digits(seed: int) -> Dataset:
    """scikit-learn's handwritten digits, of which a random fifth is the test set.

    Pixels are counts from 0 to 16 and are rescaled to 0..255 by rounding v * 255 / 16.

    Args:
      seed: chooses the test images.

    Source: the test part of Alpaydin & Kaynak (1998), as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits as load

    pixels, labels = load(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    pool, test = hold_out(LabelledImages(images, labels.astype(np.int32)), seed)
    names = tuple("0123456789")
    return _dataset("digits", pool, test, num_classes=10, class_names=names)


def load_npz(path: str | pathlib.Path, seed: int) -> Dataset:
    """The user's own images.

    Args:
      path: of an .npz as `NPZ_FORM` describes it. Pickled contents are refused.
      seed: chooses the test images if the file has none.

    Raises:
      ValueError: the file is missing, empty, damaged or not an .npz, or `from_arrays`
        refuses its arrays.
    """
    path = pathlib.Path(path).expanduser()
    keys = ("images", "labels", "test_images", "test_labels")
    arrays = read_arrays(path, keys, "data.path", NPZ_FORM)
    return from_arrays(arrays, seed, name=path.stem, source=path)


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    seed: int,
    *,
    name: str,
    source: str | pathlib.Path,
) -> Dataset:
    """Makes a data set of checked arrays under the keys of `NPZ_FORM`.

    Args:
      arrays: key -> array.
      seed: chooses the test images if there are none.
      name: of the data set.
      source: where the arrays come from, for messages.

    Raises:
      ValueError: a key is missing; an array has another type, shape or length than
        `NPZ_FORM` says; a label is negative, fractional or too large; there are fewer
        than 2 classes.
    """
    train = _checked_pair(source, arrays, "images", "labels")
    num_classes = _count_classes(source, train.labels)
    if not {"test_images", "test_labels"} & set(arrays):
        pool, test = hold_out(train, seed)
        return _dataset(name, pool, test, num_classes=num_classes)
    test = _checked_pair(source, arrays, "test_images", "test_labels")
    if test.images.shape[1:] != train.images.shape[1:]:
        raise ValueError(
            f"{source}: test_images are {_size(test.images)}, but images are "
            f"{_size(train.images)}; both must have the same size [H, W, C]."
        )
    if test.labels.max() >= num_classes:
        raise ValueError(
            f"{source}: test_labels hold class {test.labels.max()}, but the classes of "
            f"labels end at {num_classes - 1}. Remove these test images, or add "
            "training images of that class."
        )
    return _dataset(name, train, test, num_classes=num_classes)


def read_arrays(
    path: pathlib.Path, keys: tuple[str, ...], setting: str, form: str
) -> dict[str, np.ndarray]:
    """Reads arrays of an .npz, by key; a key that the file lacks is left out.

    Args:
      path: of the .npz. Pickled contents are refused.
      keys: the arrays to read.
      setting: name of the setting that holds the path, for messages.
      form: what such a file must hold, for messages.

    Raises:
      ValueError: the file is missing, empty, damaged or not an .npz.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"{setting}={path} {problem}; it must name an .npz file.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes). {form}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file, or is truncated. {form}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in keys if key in file.files}
    except _LOAD_ERRORS as error:
        raise ValueError(f"{path} cannot be read: {error}. {form}") from error
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # members that are not .npy come as bytes
            raise ValueError(f"{path}: `{key}` is not an array. {form}")
    return arrays


def _dataset(name, pool, test, *, num_classes, class_names=None):
    """A small data set, which is normalised by the statistics of its own pool."""
    mean, std = channel_statistics(pool.images)
    return Dataset(
        name=name,
        images=pool.images,
        labels=pool.labels,
        test_images=test.images,
        test_labels=test.labels,
        num_classes=num_classes,
        class_names=class_names,
        mean=mean,
        std=std,
        stratified=True,
    )


def _checked_pair(path, arrays, images_key, labels_key):
    for key in (images_key, labels_key):
        if key not in arrays:
            present = ", ".join(sorted(arrays)) or "none of its keys"
            raise ValueError(f"{path} has no `{key}` (found: {present}). {NPZ_FORM}")
    images, labels = arrays[images_key], arrays[labels_key]
    _check_images(path, images_key, images)
    _check_labels(path, labels_key, labels)
    if len(images) != len(labels):
        raise ValueError(
            f"{path}: {len(labels)} {labels_key} for {len(images)} {images_key}; there "
            "must be one label per image."
        )
    return LabelledImages(np.ascontiguousarray(images), labels.astype(np.int32))


def _check_images(path, key, images):
    if images.ndim != 4:
        hint = " Add a channel: images[..., None]." if images.ndim == 3 else ""
        raise ValueError(
            f"{path}: `{key}` has shape {images.shape}, but must be [N, H, W, C].{hint}"
        )
    if images.dtype != np.uint8:
        raise ValueError(
            f"{path}: `{key}` is of type {images.dtype}, but must be uint8 with values "
            "0 to 255. Pixels in [0, 1]: (images * 255).round().astype('uint8')."
        )
    if images.size == 0:
        raise ValueError(
            f"{path}: `{key}` has shape {images.shape}, but must hold at least one "
            "image, and no side may be 0."
        )


def _check_labels(path, key, labels):
    rule = "labels must be whole numbers from 0, one per image"
    if labels.ndim != 1:
        raise ValueError(
            f"{path}: `{key}` has shape {labels.shape}, but must be [N]: class "
            "numbers, not one-hot rows."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        example = ""
        if np.issubdtype(labels.dtype, np.floating):
            bad = np.flatnonzero(labels != np.floor(labels))
            if len(bad):
                example = f", e.g. {labels[bad[0]]} for image {bad[0]}"
        raise ValueError(
            f"{path}: `{key}` is of type {labels.dtype}{example}; {rule}. If they are "
            f"whole, save them as {key}.astype('int32')."
        )
    bad = np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int32).max))
    if len(bad):
        raise ValueError(
            f"{path}: `{key}` holds {labels[bad[0]]} for image {bad[0]}; {rule}."
        )


def _count_classes(path, labels):
    """The largest label + 1; a class in between may have no image."""
    distinct = np.unique(labels)
    if len(distinct) < 2:
        raise ValueError(
            f"{path}: all labels are {distinct[0]}; at least 2 classes are needed."
        )
    if distinct[-1] >= len(labels):
        raise ValueError(
            f"{path}: label {distinct[-1]} would mean {int(distinct[-1]) + 1} classes "
            f"for {len(labels)} images; number the classes from 0 without gaps, e.g. "
            "numpy.unique(labels, return_inverse=True)[1]."
        )
    return int(distinct[-1]) + 1


def _size(images):
    return "x".join(str(side) for side in images.shape[1:])
