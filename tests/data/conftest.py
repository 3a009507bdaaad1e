"""Small data sets in the official forms, written by hand."""

import io
import pickle
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from egnas_jax.data.files.layouts import LAYOUTS

TRAIN_RECORDS = 6  # per file
TEST_RECORDS = 4
SMALL = {
    name: tuple(
        layout._replace(train_records=TRAIN_RECORDS, test_records=TEST_RECORDS)
        for layout in layouts
    )
    for name, layouts in LAYOUTS.items()
}


class Truth(NamedTuple):
    """What was written: pixels u8[N, 32, 32, 3] and one row of labels per image."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def make_truth(layout):
    rng = np.random.default_rng(len(layout.folder))

    def draw(size):
        images = rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
        return images, rng.integers(
            0, layout.num_classes, (size, len(layout.label_keys))
        )

    train = draw(len(layout.train) * TRAIN_RECORDS)
    return Truth(*train, *draw(TEST_RECORDS))


def planes(image):
    """Red rows, then green, then blue: the official order, spelled out."""
    return b"".join(image[:, :, channel].tobytes() for channel in range(3))


def binary_file(images, labels):
    return b"".join(
        bytes(int(label) for label in row) + planes(image)
        for image, row in zip(images, labels, strict=True)
    )


def pickle_file(images, labels, keys, protocol):
    rows = np.stack([np.frombuffer(planes(image), np.uint8) for image in images])
    content = {b"data": rows, b"filenames": [b"x.png"] * len(rows)}
    content |= {
        key.encode(): [int(label) for label in column]
        for key, column in zip(keys, labels.T, strict=True)
    }
    return pickle.dumps(content, protocol)


def file_contents(layout, truth, protocol=2):
    """File name -> bytes."""
    files = {}
    for names, images, labels, records in (
        (layout.train, truth.train_images, truth.train_labels, TRAIN_RECORDS),
        (layout.test, truth.test_images, truth.test_labels, TEST_RECORDS),
    ):
        for i, name in enumerate(names):
            part = slice(i * records, (i + 1) * records)
            if layout.binary:
                files[name] = binary_file(images[part], labels[part])
            else:
                keys = layout.label_keys
                files[name] = pickle_file(images[part], labels[part], keys, protocol)
    return files


def write_folder(directory, layout, truth, **options):
    folder = directory / layout.folder
    folder.mkdir()
    for name, data in file_contents(layout, truth, **options).items():
        (folder / name).write_bytes(data)
    return folder


def write_archive(directory, layout, truth):
    path = directory / layout.archive
    with tarfile.open(path, "w:gz") as tar:
        for name, data in file_contents(layout, truth).items():
            member = tarfile.TarInfo(f"{layout.folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


class Official(NamedTuple):
    """The writers above, for tests."""

    layouts: dict
    truth: Callable
    folder: Callable
    archive: Callable
    contents: Callable


@pytest.fixture(scope="session")
def official():
    return Official(SMALL, make_truth, write_folder, write_archive, file_contents)
