"""Writes small data sets in the official CIFAR layouts, independently of the reader."""

import io
import pickle
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.data.files.layouts import LAYOUTS

TRAIN_RECORDS = 6  # per file
TEST_RECORDS = 4
SMALL_LAYOUTS = {
    name: tuple(
        layout._replace(train_records=TRAIN_RECORDS, test_records=TEST_RECORDS)
        for layout in layouts
    )
    for name, layouts in LAYOUTS.items()
}


class Content(NamedTuple):
    """Images u8[N, 32, 32, 3] and labels [N, K], one column per label key."""

    train: LabelledImages
    test: LabelledImages


def random_content(layout) -> Content:
    rng = np.random.default_rng(len(layout.folder))

    def draw(size):
        images = rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
        labels = rng.integers(0, layout.num_classes, (size, len(layout.label_keys)))
        return LabelledImages(images, labels)

    return Content(draw(len(layout.train) * TRAIN_RECORDS), draw(TEST_RECORDS))


def planes(image) -> bytes:
    """All red bytes row by row, then green, then blue: the official order."""
    return b"".join(image[:, :, channel].tobytes() for channel in range(3))


def binary_file(examples) -> bytes:
    return b"".join(
        bytes(int(label) for label in row) + planes(image)
        for image, row in zip(examples.images, examples.labels, strict=True)
    )


def pickle_file(examples, keys, protocol) -> bytes:
    rows = [np.frombuffer(planes(image), np.uint8) for image in examples.images]
    content = {b"data": np.stack(rows), b"filenames": [b"x.png"] * len(rows)}
    content |= {
        key.encode(): [int(label) for label in column]
        for key, column in zip(keys, examples.labels.T, strict=True)
    }
    return pickle.dumps(content, protocol)


def file_contents(layout, content, protocol=2) -> dict[str, bytes]:
    files = {}
    for names, examples in ((layout.train, content.train), (layout.test, content.test)):
        parts = np.split(np.arange(len(examples.labels)), len(names))
        for name, rows in zip(names, parts, strict=True):
            part = examples.select(rows)
            if layout.binary:
                files[name] = binary_file(part)
            else:
                files[name] = pickle_file(part, layout.label_keys, protocol)
    return files


def write_folder(directory, layout, content, **options):
    folder = directory / layout.folder
    folder.mkdir()
    for name, data in file_contents(layout, content, **options).items():
        (folder / name).write_bytes(data)
    return folder


def write_archive(directory, layout, content):
    path = directory / layout.archive
    with tarfile.open(path, "w:gz") as tar:
        for name, data in file_contents(layout, content).items():
            member = tarfile.TarInfo(f"{layout.folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


class Official(NamedTuple):
    """Writers of small official files.

    Attributes:
      layouts: name of the data set -> its layouts, with few images per file.
      content: layout -> random `Content` for it.
      write_folder, write_archive: (directory, layout, content) -> path.
    """

    layouts: dict
    content: Callable
    write_folder: Callable
    write_archive: Callable


@pytest.fixture(scope="session")
def official():
    return Official(SMALL_LAYOUTS, random_content, write_folder, write_archive)
