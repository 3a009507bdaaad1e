"""Data sets that come as whole arrays: scikit-learn's digits and the user's .npz.

Dims: N images, H, W height and width in pixels, C channels.
"""

import pathlib
import zipfile
import zlib

import numpy as np

from egnas_jax.data.dataset import Dataset, channel_statistics
from egnas_jax.data.split import Split, hold_out

NPZ_FORM = (
    "An .npz holds `images` (uint8 [N, H, W, C]) and `labels` (whole numbers [N], from "
    "0), and may hold `test_images` and `test_labels`: "
    "numpy.savez(path, images=..., labels=...)."
)

# damaged, encrypted, compressed in a way of its own, or with a shape beyond memory
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_digits(seed: int) -> Dataset:
    """scikit-learn's handwritten digits; a fifth by seed is the test set.

    Pixels are counts 0..16 and become 0..255 by value * 255 / 16, rounded.

    Source: Alpaydin & Kaynak (1998), test part, as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits as load

    pixels, labels = load(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    names = tuple("0123456789")
    pool, test = hold_out(images, labels.astype(np.int32), seed)
    return _dataset("digits", pool, test, num_classes=10, class_names=names)


def load_npz(path: str | pathlib.Path, seed: int) -> Dataset:
    """The user's own images.

    Args:
      path: of the .npz; see `NPZ_FORM`. Pickled contents are refused.
      seed: chooses the test images where the file names none.

    Raises:
      ValueError: the file is missing, empty, no .npz or damaged; a key is missing; an
        array has another type, shape or length than `NPZ_FORM` says; a label is
        negative, fractional or out of proportion; fewer than 2 classes.
    """
    path = pathlib.Path(path).expanduser()
    wanted = ("images", "labels", "test_images", "test_labels")
    arrays = read_arrays(path, wanted, "data.path", NPZ_FORM)
    train = _checked_pair(path, arrays, "images", "labels")
    num_classes = _count_classes(path, train.labels)
    if not {"test_images", "test_labels"} & set(arrays):
        pool, test = hold_out(*train, seed)
        return _dataset(path.stem, pool, test, num_classes=num_classes)
    test = _checked_pair(path, arrays, "test_images", "test_labels")
    if test.images.shape[1:] != train.images.shape[1:]:
        raise ValueError(
            f"{path}: test_images are {_size(test.images)} but images are "
            f"{_size(train.images)}; both must have one size [H, W, C]."
        )
    if test.labels.max() >= num_classes:
        raise ValueError(
            f"{path}: test_labels hold class {test.labels.max()}, which no training "
            f"image can teach: labels end at {num_classes - 1}. Drop these images or "
            "add such ones to `images`."
        )
    return _dataset(path.stem, train, test, num_classes=num_classes)


def read_arrays(
    path: pathlib.Path, wanted: tuple[str, ...], setting: str, form: str
) -> dict[str, np.ndarray]:
    """Those of the wanted arrays that the file holds, by key.

    Args:
      path: of the .npz. Pickled contents are refused.
      wanted: keys; others are not looked at.
      setting: by which the path was given.
      form: what such a file holds, for the message.

    Raises:
      ValueError: the file is missing, empty, no .npz or damaged.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise ValueError(f"{setting}={path} {what}; it must name an .npz file.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes). {form}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file, or is cut short. {form}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in wanted if key in file.files}
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read: {error}. {form}") from error
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # a member that is no .npy comes as bytes
            raise ValueError(f"{path}: `{key}` is no array. {form}")
    return arrays


def _dataset(name, pool, test, *, num_classes, class_names=None):
    """A small data set, normalised by the statistics of its pool."""
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
            found = ", ".join(sorted(arrays)) or "none of its keys"
            raise ValueError(f"{path} has no `{key}` (found: {found}). {NPZ_FORM}")
    images, labels = arrays[images_key], arrays[labels_key]
    _check_images(path, images_key, images)
    _check_labels(path, labels_key, labels)
    if len(images) != len(labels):
        raise ValueError(
            f"{path}: {len(labels)} {labels_key} for {len(images)} {images_key}; there "
            "must be one label per image."
        )
    return Split(np.ascontiguousarray(images), labels.astype(np.int32))


def _check_images(path, key, images):
    if images.ndim != 4:
        hint = " Add a channel: images[..., None]." if images.ndim == 3 else ""
        raise ValueError(
            f"{path}: `{key}` has shape {images.shape}; allowed is [N, H, W, C].{hint}"
        )
    if images.dtype != np.uint8:
        raise ValueError(
            f"{path}: `{key}` is of type {images.dtype}; allowed is uint8 with values "
            "0 to 255. Pixels in [0, 1]: (images * 255).round().astype('uint8')."
        )
    if images.size == 0:
        raise ValueError(
            f"{path}: `{key}` has shape {images.shape}; it must hold at least one "
            "image, and no side may be 0."
        )


def _check_labels(path, key, labels):
    allowed = "allowed are whole numbers from 0, one per image"
    if labels.ndim != 1:
        raise ValueError(
            f"{path}: `{key}` has shape {labels.shape}; allowed is [N]: class numbers, "
            "not one-hot rows."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        shown = ""
        if np.issubdtype(labels.dtype, np.floating):
            bad = np.flatnonzero(labels != np.floor(labels))
            if len(bad):
                shown = f", e.g. {labels[bad[0]]} for image {bad[0]}"
        raise ValueError(
            f"{path}: `{key}` is of type {labels.dtype}{shown}; {allowed}. Whole ones "
            f"can be saved as {key}.astype('int32')."
        )
    bad = np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int32).max))
    if len(bad):
        raise ValueError(
            f"{path}: `{key}` holds {labels[bad[0]]} for image {bad[0]}; {allowed}."
        )


def _count_classes(path, labels):
    """Largest label + 1; a class in between may have no image."""
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
