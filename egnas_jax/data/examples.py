"""Images that are read one at a time: of a prepared data set, or of arrays.

Dims: N images, H, W height and width in pixels, C channels.
"""

import hashlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from egnas_jax.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Dataset
from egnas_jax.data.files import prepared
from egnas_jax.data.frames import decode


class Examples(NamedTuple):
    """The images of one split; its functions may be called from several threads.

    Attributes:
      size: N.
      read: index -> (image, label); the image is u8[H, W, C] or Pillow's.
      labels: indices i64[n] -> i32[n], without decoding images.
    """

    size: int
    read: Callable
    labels: Callable


class Opened(NamedTuple):
    """A data set that is read while it is used; `Dataset` says what the names mean.

    Attributes:
      image_shape: [H, W, C] of all images, or None where they differ.
      digest: of what the folder says about itself, and of the names and sizes of its
        files, not of all that they hold; None of arrays, whose bytes are at hand.
    """

    name: str
    train: Examples
    test: Examples
    image_shape: tuple[int, int, int] | None
    num_classes: int
    class_names: tuple[str, ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str | None


def open_arrays(dataset: Dataset) -> Opened:
    """A data set in memory, read as one that is not."""

    def examples(images, labels):
        def read(index):
            return images[index], int(labels[index])

        return Examples(len(labels), read, lambda indices: labels[indices])

    return Opened(
        dataset.name,
        examples(dataset.images, dataset.labels),
        examples(dataset.test_images, dataset.test_labels),
        tuple(dataset.images.shape[1:]),
        dataset.num_classes,
        dataset.class_names,
        dataset.mean,
        dataset.std,
        None,
    )


def open_imagenet(data_dir: str | pathlib.Path | None) -> Opened:
    """ImageNet as tensorflow-datasets prepares it; its validation images are the test.

    Args:
      data_dir: holds, or is, a folder `imagenet2012`; None: the usual tfds directory.

    Raises:
      ValueError: it is not there, incomplete, or in a form that cannot be read at
        random without tensorflow; or tfds is not installed.
    """
    directory = prepared.default_tfds_dir()
    if data_dir is not None:
        directory = prepared.existing_directory(data_dir)
    folder = prepared.find_prepared(directory, prepared.IMAGENET)
    if folder is None:
        raise ValueError(
            f"{directory} holds no {prepared.IMAGENET}/VERSION/{prepared.INFO_FILE} "
            f"(tfds). `egnas data prepare --name imagenet` makes it from train/CLASS/"
            f"*.JPEG and val/CLASS/*.JPEG; nothing is downloaded, as ImageNet asks for "
            f"an account."
        )
    sources, info = prepared.open_prepared(folder, ("train", "validation"))
    names = info.features["label"].names
    return Opened(
        "imagenet",
        *(_encoded(f"{folder}, {split}", sources[split]) for split in sources),
        None,
        len(names),
        tuple(names),
        IMAGENET_MEAN,
        IMAGENET_STD,
        _digest(folder),
    )


def _encoded(where, source) -> Examples:
    def read(index):
        example = source[int(index)]
        try:
            return decode(example["image"]), int(example["label"])
        except OSError as error:
            raise ValueError(
                f"{where}: image {index} cannot be decoded: {error}. Prepare the data "
                f"set again."
            ) from error

    def labels(indices):
        return np.array([source[int(i)]["label"] for i in indices], np.int32)

    return Examples(len(source), read, labels)


def _digest(folder: pathlib.Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        total.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        if path.suffix in (".json", ".txt"):
            total.update(path.read_bytes())
    return total.hexdigest()
