"""Reads data that tensorflow-datasets prepared, without tensorflow where possible.

`tfds.data_source` reads parquet and array_record by itself. Reading tfrecord, the
default format of `tfds.load`, needs tensorflow.

Dims: N images, H, W height and width in pixels, C channels.
"""

import importlib.util
import os
import pathlib
import re
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from egnas_jax.data.dataset import LabelledImages

INFO_FILE = "dataset_info.json"
IMAGENET = "imagenet2012"  # its name in tfds
INSTALL = "pip install 'egnas-jax[tfds]'"


def default_tfds_dir() -> pathlib.Path:
    """The default data directory of tfds: `TFDS_DATA_DIR`, or ~/tensorflow_datasets."""
    default = pathlib.Path.home() / "tensorflow_datasets"
    return pathlib.Path(os.environ.get("TFDS_DATA_DIR") or default)


def existing_directory(data_dir: str | pathlib.Path) -> pathlib.Path:
    """The directory that --data-dir names, as an absolute path.

    Raises:
      ValueError: it is not a directory.
    """
    directory = pathlib.Path(data_dir).expanduser().resolve()
    if not directory.is_dir():
        problem = "is a file" if directory.exists() else "does not exist"
        raise ValueError(
            f"--data-dir {data_dir} {problem}; give the directory that holds the data."
        )
    return directory


def find_prepared(directory: pathlib.Path, name: str) -> pathlib.Path | None:
    """Finds the version folder of a data set: the newest, or None if there is none.

    Args:
      directory: a tfds data directory, the folder `name` in one, or a version folder.
      name: of the data set in tfds.
    """
    if (directory / INFO_FILE).is_file() and directory.parent.name == name:
        return directory
    parents = [directory / name]
    if directory.name == name:
        parents.append(directory)
    for parent in parents:
        versions = [info.parent for info in parent.glob(f"*/{INFO_FILE}")]
        if versions:
            return max(versions, key=_version)
    return None


def _version(folder):
    return tuple(int(part) for part in re.findall(r"\d+", folder.name))


def read_prepared(
    folder: pathlib.Path, num_classes: int
) -> tuple[LabelledImages, LabelledImages]:
    """The training and the test images of a version folder.

    tfds shuffles examples when it writes them. Examples with an `id`, which CIFAR's
    have, are sorted by it. This is the official order, so a split in file order selects
    the same images whatever the source.

    Args:
      folder: a version folder that `find_prepared` returned.
      num_classes: all labels must be less.

    Raises:
      ValueError: tfds or a package it needs is not installed, or the folder is
        incomplete, damaged or of another data set.
    """
    tfds = _import_tfds(folder)
    try:
        builder = tfds.builder_from_directory(folder)
        train, test = (_read_split(tfds, builder, split) for split in ("train", "test"))
    except Exception as error:  # each file format raises its own types
        raise _unreadable(folder, error) from error
    for split in (train, test):
        _check(folder, split, num_classes)
    return train, test


def open_prepared(
    folder: pathlib.Path, splits: tuple[str, ...]
) -> tuple[dict[str, Sequence], Any]:
    """Opens a version folder for reading single examples, with images left encoded.

    Args:
      folder: a version folder that `find_prepared` returned.
      splits: names of the splits to open.

    Returns:
      Sequences of examples by split, and the tfds info of the data set.

    Raises:
      ValueError: tfds is not installed, or the folder is incomplete, damaged, or in
        tfrecord.
    """
    tfds = _import_tfds(folder)
    encoded = {"image": tfds.decode.SkipDecoding()}
    try:
        builder = tfds.builder_from_directory(folder)
        for split in splits:
            for path in builder.info.splits[split].filepaths:
                if not path.stat().length:
                    raise ValueError(f"{path} is empty")
        sources = {
            split: builder.as_data_source(split, decoders=encoded) for split in splits
        }
        for source in sources.values():
            source[len(source) - 1]
    except Exception as error:  # each file format raises its own types
        raise _unreadable(folder, error) from error
    return sources, builder.info


def _import_tfds(folder) -> types.ModuleType:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"{folder} was prepared by tensorflow-datasets, which cannot be imported "
            f"({error}): {INSTALL}, or give the official files instead."
        ) from error
    return tfds


def _unreadable(folder, error):
    first_line = (str(error).splitlines() or [""])[0][:200]
    return ValueError(
        f"{folder} cannot be read as a prepared data set ({type(error).__name__}: "
        f"{first_line}). It is incomplete, or in tfrecord, which needs tensorflow; "
        f"`egnas data prepare` writes a format that does not."
    )


def _read_split(tfds, builder, split):
    examples = _examples(tfds, builder, split)
    expected = builder.info.splits[split].num_examples
    if len(examples) != expected:
        raise ValueError(f"{split} has {len(examples)} of {expected} examples")
    if examples and "id" in examples[0]:
        examples.sort(key=lambda example: _text(example["id"]))
    images = np.stack([example["image"] for example in examples])
    labels = np.array([example["label"] for example in examples], np.int32)
    return LabelledImages(images, labels)


def _examples(tfds, builder, split):
    """All examples of a split, as dictionaries."""
    try:
        source = builder.as_data_source(split)
    except NotImplementedError as error:  # tfrecord has no random access
        if importlib.util.find_spec("tensorflow") is None:
            raise ValueError("its file format needs tensorflow") from error
        return list(tfds.as_numpy(builder.as_dataset(split)))
    return [source[i] for i in range(len(source))]


def _check(folder, split, num_classes):
    images, labels = split
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            f"{folder}: images are {images.dtype}{images.shape}, but must be uint8 "
            f"[N, H, W, C]."
        )
    bad = labels[(labels < 0) | (labels >= num_classes)]
    if len(bad):
        raise ValueError(
            f"{folder}: an image has the label {bad[0]}, but labels must be from 0 to "
            f"{num_classes - 1}."
        )


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
