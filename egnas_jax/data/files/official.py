"""Reads the official CIFAR files: binary and pickled folders, and tar.gz archives.

An image is stored as 1024 red, 1024 green and 1024 blue bytes, each plane row by row.
Archives are read in memory; nothing is extracted to disk.

Source: https://www.cs.toronto.edu/~kriz/cifar.html.
Dims: N images.
"""

import pathlib
import posixpath
import tarfile
import zlib
from collections.abc import Mapping

import numpy as np

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.data.files.layouts import Layout
from egnas_jax.data.files.unpickle import load_pickled_arrays

PIXELS = 3 * 32 * 32


def read_official(
    source: pathlib.Path, layout: Layout
) -> tuple[LabelledImages, LabelledImages]:
    """The training and the test images of a folder or an archive, in file order.

    Labels are the fine labels where the files have fine and coarse ones.

    Args:
      source: the folder or archive that `find_official` returns.
      layout: its layout.

    Raises:
      ValueError: a file is missing or does not match the layout, or the archive is
        damaged. The message names the file.
    """
    key = layout.label_keys[-1]
    splits = read_all_labels(source, layout)
    train, test = (LabelledImages(images, labels[key]) for images, labels in splits)
    return train, test


def read_all_labels(
    source: pathlib.Path, layout: Layout
) -> tuple[tuple[np.ndarray, dict[str, np.ndarray]], ...]:
    """Images with every set of labels; CIFAR-100 has coarse and fine ones.

    Args:
      source: the folder or archive that `find_official` returns.
      layout: its layout. Each file must have exactly the number of images it states.

    Returns:
      For the training and the test split: images u8[N, 32, 32, 3], and labels i32[N] by
      label key.

    Raises:
      ValueError: a file is missing, empty, short, long or foreign, the archive is
        damaged, or a label is out of range. The message names the file.
    """
    names = layout.train + layout.test
    files = (
        _read_folder(source, names)
        if source.is_dir()
        else _read_archive(source, layout.folder, names)
    )
    missing = [name for name in names if name not in files]
    if missing:
        raise ValueError(
            f"{source} lacks {', '.join(missing)}; {layout.folder} consists of "
            f"{', '.join(names)}. Unpack or download {layout.archive} again."
        )
    splits = (layout.train, layout.train_records), (layout.test, layout.test_records)
    return tuple(
        _joined([(f"{source}/{name}", files[name]) for name in names], layout, records)
        for names, records in splits
    )


def _read_folder(folder, names):
    """Contents of those files of the folder that exist, by name."""
    try:
        return {
            name: (folder / name).read_bytes()
            for name in names
            if (folder / name).is_file()
        }
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error}.") from error


def _read_archive(archive, folder, names):
    """Contents of those regular files of `folder` that the archive holds, by name."""
    paths = {posixpath.join(folder, name): name for name in names}
    files = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = paths.get(posixpath.normpath(member.name))
                if name is not None and member.isfile():
                    files[name] = tar.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{archive} ({archive.stat().st_size} bytes) is damaged or not a tar.gz "
            f"archive: {error}. Download it again."
        ) from error
    return files


def _joined(files, layout, records):
    """Images and labels by key of several (path, content), in order."""
    read = _read_binary if layout.binary else _read_pickle
    parts = [read(path, content, layout, records) for path, content in files]
    planes = np.concatenate([rows for rows, _ in parts]).reshape(-1, 3, 32, 32)
    labels = {
        key: np.concatenate([part_labels[key] for _, part_labels in parts])
        for key in layout.label_keys
    }
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def _read_binary(path, content, layout, records):
    """Pixel rows and labels by key of one file of fixed-length records."""
    width = len(layout.label_keys) + PIXELS
    if len(content) != records * width:
        raise ValueError(
            f"{path} has {len(content)} bytes, but must have {records * width}: "
            f"{records} records of {width} bytes. It is truncated or another file; "
            f"unpack {layout.archive} again."
        )
    table = np.frombuffer(content, np.uint8).reshape(records, width)
    labels = {key: table[:, i] for i, key in enumerate(layout.label_keys)}
    return table[:, -PIXELS:], _checked_labels(path, labels, layout)


def _read_pickle(path, content, layout, records):
    """Pixel rows and labels by key of one pickled dictionary."""
    hint = f"It is truncated or another file; unpack {layout.archive} again."
    if not content:
        raise ValueError(f"{path} is empty (0 bytes). {hint}")
    try:
        entries = load_pickled_arrays(content)
    except ValueError as error:
        raise ValueError(f"{path} is {error}. {hint}") from error
    keys = ("data", *layout.label_keys)
    entries = _with_text_keys(entries)
    if not set(keys) <= set(entries):
        raise ValueError(f"{path} lacks one of the keys {', '.join(keys)}. {hint}")
    rows, labels = entries["data"], {key: entries[key] for key in layout.label_keys}
    is_bytes = isinstance(rows, np.ndarray) and rows.dtype == np.uint8
    if not is_bytes or rows.shape != (records, PIXELS):
        kind = f"{rows.dtype}{rows.shape}" if hasattr(rows, "dtype") else type(rows)
        raise ValueError(
            f"{path}: data is {kind}, but must be uint8({records}, {PIXELS}). {hint}"
        )
    for key, value in labels.items():
        if np.shape(value) != (records,) or np.asarray(value).dtype.kind not in "iu":
            raise ValueError(
                f"{path}: {key} must be {records} whole numbers, but are not. {hint}"
            )
    return rows, _checked_labels(path, labels, layout)


def _with_text_keys(entries):
    """A pickled dictionary with bytes keys decoded; empty for any other object."""
    if not isinstance(entries, Mapping):
        return {}
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: value
        for key, value in entries.items()
    }


def _checked_labels(path, labels, layout):
    """The labels as i32."""
    for key, classes in zip(layout.label_keys, layout.num_classes, strict=True):
        values = np.asarray(labels[key])
        bad = np.flatnonzero((values < 0) | (values >= classes))
        if len(bad):
            raise ValueError(
                f"{path}: image {bad[0]} has the {key.rstrip('s').replace('_', ' ')} "
                f"{values[bad[0]]}, but it must be from 0 to {classes - 1}. This is "
                f"not a file of {layout.archive}."
            )
    return {key: np.asarray(labels[key]).astype(np.int32) for key in layout.label_keys}
