"""Loads data sets that come as arrays: scikit-learn's digits and the user's .npz files.

Dims: N images, H, W height and width in pixels, C channels.
"""

import contextlib
import importlib.util
import logging
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from egnas_jax.data.dataset import Dataset, LabelledImages, channel_statistics
from egnas_jax.data.files.array_checks import (
    absent_classes,
    check_below,
    checked,
    count_classes,
    join,
    size,
)
from egnas_jax.data.files.array_keys import NPZ_FORM, Pairs, find_pairs, known_keys
from egnas_jax.data.split import HOLD_OUT_PATTERN, hold_out

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
    pixels, labels = _digits_of_scikit_learn()
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    pool, test = hold_out(LabelledImages(images, labels.astype(np.int32)), seed)
    names = tuple("0123456789")
    return _dataset("digits", pool, test, num_classes=10, class_names=names)


def _digits_of_scikit_learn() -> tuple[np.ndarray, np.ndarray]:
    """Pixels f64[1797, 64] and labels, from the file that comes with scikit-learn.

    Its function reads the same file, but importing it takes a second of processor time.
    """
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        path = pathlib.Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            table = np.loadtxt(path, delimiter=",")
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits as load

    return load(return_X_y=True)


def load_npz(
    path: str | pathlib.Path,
    seed: int,
    classes: int | None = None,
    layout: str | None = None,
) -> Dataset:
    """The user's own images.

    Args:
      path: of an .npz as `NPZ_FORM` describes it. Pickled contents are refused.
      seed: chooses the test images if the file has none.
      classes, layout: `data.classes` and `data.layout`, or None.

    Raises:
      ValueError: the file is missing, empty, damaged or not an .npz, or `from_arrays`
        refuses its arrays.
    """
    path = pathlib.Path(path).expanduser()
    arrays = _read_known(path)
    stated = {"classes": classes, "layout": layout}
    return from_arrays(arrays, seed, name=path.stem, source=path, **stated)


def from_arrays(
    arrays: Mapping[str, np.ndarray | None],
    seed: int,
    *,
    name: str,
    source: str | pathlib.Path,
    classes: int | None = None,
    layout: str | None = None,
) -> Dataset:
    """Makes a data set of checked arrays.

    Args:
      arrays: key -> array; the keys are those of `array_keys.FORMS`.
      seed: chooses the test images if there are none.
      name: of the data set.
      source: where the arrays come from, for messages.
      classes, layout: `data.classes` and `data.layout`, or None.

    Raises:
      ValueError: a key is missing; an array has another type, shape or length than
        `NPZ_FORM` says; a label is negative, fractional or too large; there are fewer
        than 2 classes.
    """
    train, test = _checked_splits(source, find_pairs(source, arrays), layout)
    if train is None:
        found = ", ".join(sorted(arrays))
        raise ValueError(
            f"{source} has no training images (found: {found}). {NPZ_FORM}"
        )
    num_classes = count_classes(source, train.labels, classes)
    if test is None:
        pool, test = hold_out(train, seed)
        return _dataset(name, pool, test, num_classes=num_classes)
    if test.labels.max() >= num_classes:
        raise ValueError(
            f"{source}: test_labels hold class {test.labels.max()}, but the classes of "
            f"labels end at {num_classes - 1}. Remove these test images, add training "
            "images of that class, or state the number of classes by data.classes=N."
        )
    return _dataset(name, train, test, num_classes=num_classes)


def load_for_evaluation(
    path: str | pathlib.Path,
    num_classes: int,
    seed: int,
    is_trained_pool: Callable[[LabelledImages], bool],
    *,
    layout: str | None = None,
) -> Dataset:
    """The user's own images, of which as many as possible are the test set.

    That is the test images of the file, or else all of its images. The exception is the
    file that the network was trained on: its test set is the fifth that the training
    held out. Classes may have no image.

    Args:
      path: of an .npz as `NPZ_FORM` describes it; test images suffice.
      num_classes: of the network.
      seed: the seed by which the training held out its test images.
      is_trained_pool: whether a network was trained on these images.
      layout: `data.layout`, or None.

    Returns:
      A data set. Its pool is what a training with that seed would have used.

    Raises:
      ValueError: the file is missing or damaged, an array is of another form, or a
        label is not less than `num_classes`.
    """
    path = pathlib.Path(path).expanduser()
    train, test = _checked_splits(path, find_pairs(path, _read_known(path)), layout)
    pool = test if train is None else train
    if test is None:
        test = train
        if len(train.labels) >= len(HOLD_OUT_PATTERN):
            pool, held_out = hold_out(train, seed)
            test = held_out if is_trained_pool(pool) else train
    check_below(path, test.labels, num_classes, "the network")
    if absent := absent_classes(test.labels, num_classes):
        logging.getLogger("egnas_jax").warning(
            f"{path}: {absent} no image among the {len(test.labels)} that are "
            f"evaluated."
        )
    return _dataset(path.stem, pool, test, num_classes=num_classes)


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
    with _opened(path, setting, form) as file:
        arrays = {key: file[key] for key in keys if key in file.files}
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # members that are not .npy come as bytes
            raise ValueError(f"{path}: `{key}` is not an array. {form}")
    return arrays


@contextlib.contextmanager
def _opened(path, setting, form) -> Iterator[np.lib.npyio.NpzFile]:
    """An .npz for a `with` block, in which every error counts as one of the file."""
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"{setting}={path} {problem}; it must name an .npz file.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes). {form}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file, or is truncated. {form}")
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except _LOAD_ERRORS as error:
        raise ValueError(f"{path} cannot be read: {error}. {form}") from error


def _read_known(path: pathlib.Path) -> dict[str, np.ndarray | None]:
    """The arrays of an .npz under keys that are known; None under the other keys."""
    with _opened(path, "data.path", NPZ_FORM) as file:
        names = tuple(file.files)
    arrays = read_arrays(path, known_keys(names), "data.path", NPZ_FORM)
    return dict.fromkeys(names) | arrays


def _checked_splits(source, pairs: Pairs, layout) -> list[LabelledImages | None]:
    """Checked training images, those of validation included, and test images."""
    train, test = (
        join([checked(source, pair, layout) for pair in part], source) if part else None
        for part in (pairs.train, pairs.test and (pairs.test,))
    )
    if train and test and size(test.images) != size(train.images):
        raise ValueError(
            f"{source}: test_images are {size(test.images)}, but images are "
            f"{size(train.images)}; both must have the same size [H, W, C]."
        )
    return [train, test]


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
