"""Forms of the official CIFAR files, and finding one in a directory.

Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import pathlib
from typing import NamedTuple


class Layout(NamedTuple):
    """One official form of one data set.

    Attributes:
      folder: its name, also inside the archive.
      archive: name of the tar.gz.
      binary: raw records, or else python pickles.
      train, test: file names in order.
      train_records, test_records: images per file.
      label_keys: the labels of an image in the order of a binary record; in a pickle
        they are the keys.
      num_classes: per label key.
    """

    folder: str
    archive: str
    binary: bool
    train: tuple[str, ...]
    test: tuple[str, ...]
    train_records: int
    test_records: int
    label_keys: tuple[str, ...]
    num_classes: tuple[int, ...]


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_COARSE_AND_FINE = ("coarse_labels", "fine_labels")

LAYOUTS = {
    "cifar10": (
        Layout(
            folder="cifar-10-batches-bin",
            archive="cifar-10-binary.tar.gz",
            binary=True,
            train=tuple(f"{name}.bin" for name in _BATCHES),
            test=("test_batch.bin",),
            train_records=10_000,
            test_records=10_000,
            label_keys=("labels",),
            num_classes=(10,),
        ),
        Layout(
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
            binary=False,
            train=_BATCHES,
            test=("test_batch",),
            train_records=10_000,
            test_records=10_000,
            label_keys=("labels",),
            num_classes=(10,),
        ),
    ),
    "cifar100": (
        Layout(
            folder="cifar-100-binary",
            archive="cifar-100-binary.tar.gz",
            binary=True,
            train=("train.bin",),
            test=("test.bin",),
            train_records=50_000,
            test_records=10_000,
            label_keys=_COARSE_AND_FINE,
            num_classes=(20, 100),
        ),
        Layout(
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
            binary=False,
            train=("train",),
            test=("test",),
            train_records=50_000,
            test_records=10_000,
            label_keys=_COARSE_AND_FINE,
            num_classes=(20, 100),
        ),
    ),
}


def find_official(
    directory: pathlib.Path, layouts: tuple[Layout, ...]
) -> tuple[pathlib.Path, Layout] | None:
    """(folder or archive, its layout) of the first form that `directory` holds or is.

    A folder that is there but incomplete is found too: reading it says what it lacks.
    """
    for layout in layouts:
        if (directory / layout.folder).is_dir():
            return directory / layout.folder, layout
    for layout in layouts:
        is_it = directory.name == layout.folder
        if is_it or any((directory / name).is_file() for name in layout.train):
            return directory, layout
    for layout in layouts:
        if (directory / layout.archive).is_file():
            return directory / layout.archive, layout
    return None
