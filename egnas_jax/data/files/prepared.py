"""Reads a directory that tensorflow-datasets prepared, without tensorflow where it can.

`tfds.data_source` reads parquet and array_record by itself; tfrecord, which is what
`tfds.load` writes unless told otherwise, needs tensorflow.

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

from egnas_jax.data.files.official import Images

INFO_FILE = "dataset_info.json"
IMAGENET = "imagenet2012"  # its name in tfds
INSTALL = "pip install 'egnas-jax[tfds]'"


def default_tfds_dir() -> pathlib.Path:
    """Where tfds itself looks: `TFDS_DATA_DIR`, else ~/tensorflow_datasets."""
    default = pathlib.Path.home() / "tensorflow_datasets"
    return pathlib.Path(os.environ.get("TFDS_DATA_DIR") or default)


def existing_directory(data_dir: str | pathlib.Path) -> pathlib.Path:
    """What --data-dir names.

    Raises:
      ValueError: it is no directory.
    """
    directory = pathlib.Path(data_dir).expanduser().resolve()
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise ValueError(
            f"--data-dir {data_dir} {what}; give the directory that holds the data."
        )
    return directory


def find_prepared(directory: pathlib.Path, name: str) -> pathlib.Path | None:
    """The version folder that `directory` holds or is; of several the newest.

    Args:
      directory: a tfds data directory, the folder `name` in one, or a version of it.
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


def read_prepared(folder: pathlib.Path, num_classes: int) -> tuple[Images, Images]:
    """(training, test) images of a version folder.

    tfds stores examples in an order of its own; where they carry an `id`, as CIFAR's
    do, they are put back into the official order, so that a split in file order means
    the same for every source. How many images there are is the folder's own word.

    Args:
      folder: as `find_prepared` gives it.
      num_classes: labels must be below it.

    Raises:
      ValueError: tfds or what it needs is not installed, the folder is incomplete or
        damaged, or it holds something else.
    """
    tfds = _import_tfds(folder)
    try:
        builder = tfds.builder_from_directory(folder)
        splits = [_read_split(tfds, builder, split) for split in ("train", "test")]
    except Exception as error:  # every format has errors of its own
        raise _unreadable(folder, error) from error
    for images in splits:
        _check(folder, images, num_classes)
    return tuple(splits)


def open_prepared(
    folder: pathlib.Path, splits: tuple[str, ...]
) -> tuple[dict[str, Sequence], Any]:
    """Random access to the examples of a version folder, images left encoded.

    Args:
      folder: as `find_prepared` gives it.
      splits: their names.

    Returns:
      Sequences of examples by split, and tfds's info of the data set.

    Raises:
      ValueError: as `read_prepared`, tfrecord included.
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
    except Exception as error:  # every format has errors of its own
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
    return ValueError(
        f"{folder} cannot be read as a prepared data set ({type(error).__name__}: "
        f"{_first_line(error)}). It is incomplete, or tfrecord, which needs "
        f"tensorflow; `egnas data prepare` writes a form that does not."
    )


def _read_split(tfds, builder, split):
    examples = _examples(tfds, builder, split)
    expected = builder.info.splits[split].num_examples
    if len(examples) != expected:
        raise ValueError(f"{split} has {len(examples)} of {expected} examples")
    if examples and "id" in examples[0]:
        examples.sort(key=lambda example: _text(example["id"]))

    def column(key):
        return np.array([example[key] for example in examples], np.int32)

    images = np.stack([example["image"] for example in examples])
    coarse = column("coarse_label") if "coarse_label" in examples[0] else None
    return Images(images, column("label"), coarse)


def _examples(tfds, builder, split):
    """All examples of a split as a list of dictionaries."""
    try:
        source = builder.as_data_source(split)
    except NotImplementedError as error:  # no random access: tfrecord
        if importlib.util.find_spec("tensorflow") is None:
            raise ValueError("its file format needs tensorflow") from error
        return list(tfds.as_numpy(builder.as_dataset(split)))
    return [source[i] for i in range(len(source))]


def _check(folder, images, num_classes):
    if images.images.dtype != np.uint8 or images.images.ndim != 4:
        raise ValueError(
            f"{folder}: images are {images.images.dtype}{images.images.shape}; allowed "
            "is uint8 [N, H, W, C]."
        )
    bad = images.labels[(images.labels < 0) | (images.labels >= num_classes)]
    if len(bad):
        raise ValueError(
            f"{folder}: an image has the label {bad[0]}; allowed are 0 to "
            f"{num_classes - 1}."
        )


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def _first_line(error):
    return (str(error).splitlines() or [""])[0][:200]
