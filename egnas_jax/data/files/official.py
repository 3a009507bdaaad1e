"""The official CIFAR files: binary and python folders, and their tar.gz archives.

A row of either is 1024 red, 1024 green and 1024 blue bytes, each plane in row order.
Archives are read in memory; nothing is extracted to disk.

Source: https://www.cs.toronto.edu/~kriz/cifar.html.
Dims: N images.
"""

import pathlib
import posixpath
import tarfile
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from egnas_jax.data.files.layouts import Layout
from egnas_jax.data.files.unpickle import load_pickled_arrays

PIXELS = 3 * 32 * 32


class Images(NamedTuple):
    """Images of one split in official order.

    Attributes:
      images: u8[N, 32, 32, 3].
      labels: i32[N].
      coarse_labels: i32[N], or None for CIFAR-10.
    """

    images: np.ndarray
    labels: np.ndarray
    coarse_labels: np.ndarray | None


def read_official(source: pathlib.Path, layout: Layout) -> tuple[Images, Images]:
    """(training, test) images of a folder or an archive.

    Args:
      source: as `find_official` gives it.
      layout: its form; `train_records` and `test_records` are demanded exactly.

    Raises:
      ValueError: a file is missing, empty, short, long or foreign, the archive is
        damaged, or a label is out of range. The message names the file.
    """
    wanted = layout.train + layout.test
    files = (
        _read_folder(source, wanted)
        if source.is_dir()
        else _read_archive(source, layout.folder, wanted)
    )
    missing = [name for name in wanted if name not in files]
    if missing:
        raise ValueError(
            f"{source} lacks {', '.join(missing)}; {layout.folder} consists of "
            f"{', '.join(wanted)}. Unpack or download {layout.archive} again."
        )
    train = _join(source, files, layout.train, layout, layout.train_records)
    test = _join(source, files, layout.test, layout, layout.test_records)
    return train, test


def _read_folder(folder, wanted):
    try:
        return {
            name: (folder / name).read_bytes()
            for name in wanted
            if (folder / name).is_file()
        }
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error}.") from error


def _read_archive(archive, folder, wanted):
    """Contents of the wanted plain files of `folder` in one pass."""
    paths = {posixpath.join(folder, name): name for name in wanted}
    files = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = paths.get(posixpath.normpath(member.name))
                if name is not None and member.isfile():
                    files[name] = tar.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{archive} ({archive.stat().st_size} bytes) is no whole tar.gz: {error}. "
            "Download it again."
        ) from error
    return files


def _join(source, files, names, layout, records):
    read = _read_binary if layout.binary else _read_pickle
    parts = [read(f"{source}/{name}", files[name], layout, records) for name in names]
    rows = np.concatenate([part[0] for part in parts])
    labels = {
        key: np.concatenate([part[1][key] for part in parts])
        for key in layout.label_keys
    }
    images = np.ascontiguousarray(
        rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # planes -> channels last
    )
    return Images(images, labels[layout.label_keys[-1]], labels.get("coarse_labels"))


def _read_binary(where, data, layout, records):
    width = len(layout.label_keys) + PIXELS
    if len(data) != records * width:
        raise ValueError(
            f"{where} has {len(data)} bytes; {records} records of {width} bytes make "
            f"{records * width}. It is cut short or another file: unpack "
            f"{layout.archive} again."
        )
    table = np.frombuffer(data, np.uint8).reshape(records, width)
    labels = {key: table[:, i] for i, key in enumerate(layout.label_keys)}
    return table[:, -PIXELS:], _checked_labels(where, labels, layout)


def _read_pickle(where, data, layout, records):
    again = f"It is cut short or another file: unpack {layout.archive} again."
    if not data:
        raise ValueError(f"{where} is empty (0 bytes). {again}")
    try:
        content = load_pickled_arrays(data)
    except ValueError as error:
        raise ValueError(f"{where} is {error}. {again}") from error
    keys = ("data", *layout.label_keys)
    entries = _entries(content, keys)
    if len(entries) < len(keys):
        raise ValueError(f"{where} has not all of the keys {', '.join(keys)}. {again}")
    rows = entries.pop("data")
    good = isinstance(rows, np.ndarray) and rows.dtype == np.uint8
    if not good or rows.shape != (records, PIXELS):
        shown = f"{rows.dtype}{rows.shape}" if hasattr(rows, "dtype") else type(rows)
        raise ValueError(
            f"{where}: data is {shown}; allowed is uint8({records}, {PIXELS}). {again}"
        )
    for key, value in entries.items():
        if np.shape(value) != (records,) or np.asarray(value).dtype.kind not in "iu":
            raise ValueError(f"{where}: {key} are not {records} whole numbers. {again}")
    return rows, _checked_labels(where, entries, layout)


def _entries(content, keys):
    """Those of the keys that a pickled dictionary has, as text or as bytes."""
    if not isinstance(content, Mapping):
        return {}
    found = {}
    for key in keys:
        for spelling in (key, key.encode()):
            if spelling in content:
                found[key] = content[spelling]
    return found


def _checked_labels(where, labels, layout):
    checked = {}
    for key, classes in zip(layout.label_keys, layout.num_classes, strict=True):
        values = np.asarray(labels[key])
        bad = np.flatnonzero((values < 0) | (values >= classes))
        if len(bad):
            raise ValueError(
                f"{where}: image {bad[0]} has the {key.rstrip('s').replace('_', ' ')} "
                f"{values[bad[0]]}; allowed are 0 to {classes - 1}. It is not a file "
                f"of {layout.archive}."
            )
        checked[key] = values.astype(np.int32)
    return checked
