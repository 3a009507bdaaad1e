"""Opens data sets whose images are read one at a time while a network trains.

Dims: N images, H, W height and width in pixels, C channels.
"""

import hashlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from egnas_jax.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Dataset
from egnas_jax.data.files import prepared
from egnas_jax.data.photographs import decode


class Examples(NamedTuple):
    """Random access to the images of one split. Its functions are thread-safe.

    Attributes:
      size: number of images N.
      read: index -> (image, label); the image is u8[H, W, C] or a Pillow image.
      labels: indices i64[n] -> i32[n]; decodes no images.
    """

    size: int
    read: Callable
    labels: Callable


class StreamedDataset(NamedTuple):
    """A data set that stays on disk; the counterpart of `Dataset`.

    Attributes:
      name, num_classes, class_names, mean, std: defined as in `Dataset`.
      train, test: the images of each split.
      image_shape: [H, W, C] of every image, or None if sizes differ.
      digest: sha256 of the folder's metadata and of its files' names and sizes, but not
        of their contents; None for arrays, which can be hashed themselves.
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


def open_arrays(dataset: Dataset) -> StreamedDataset:
    """Presents a data set in memory as a streamed one."""

    def examples(images, labels):
        def read(index):
            return images[index], int(labels[index])

        return Examples(len(labels), read, lambda indices: labels[indices])

    return StreamedDataset(
        name=dataset.name,
        train=examples(dataset.images, dataset.labels),
        test=examples(dataset.test_images, dataset.test_labels),
        image_shape=tuple(dataset.images.shape[1:]),
        num_classes=dataset.num_classes,
        class_names=dataset.class_names,
        mean=dataset.mean,
        std=dataset.std,
        digest=None,
    )


def open_imagenet(data_dir: str | pathlib.Path | None) -> StreamedDataset:
    """Opens ImageNet as prepared by tensorflow-datasets.

    Its validation images serve as the test set, as is usual.

    Args:
      data_dir: the folder `imagenet2012` or its parent; None for the usual tfds
        directory.

    Raises:
      ValueError: the data are missing, incomplete or in a format without random
        access; or tfds is not installed.
    """
    directory = prepared.default_tfds_dir()
    if data_dir is not None:
        directory = prepared.existing_directory(data_dir)
    folder = prepared.find_prepared(directory, prepared.IMAGENET)
    if folder is None:
        raise ValueError(
            f"{directory} holds no {prepared.IMAGENET}/VERSION/{prepared.INFO_FILE} "
            f"(tfds). `egnas data prepare --name imagenet` makes it from train/CLASS/"
            f"*.JPEG and val/CLASS/*.JPEG; nothing is downloaded, as ImageNet requires "
            f"an account."
        )
    sources, info = prepared.open_prepared(folder, ("train", "validation"))
    class_names = tuple(info.features["label"].names)
    return StreamedDataset(
        name="imagenet",
        train=_encoded(sources["train"], f"{folder}, train"),
        test=_encoded(sources["validation"], f"{folder}, validation"),
        image_shape=None,
        num_classes=len(class_names),
        class_names=class_names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        digest=_digest(folder),
    )


def _encoded(source, description) -> Examples:
    """Examples of a tfds data source whose images are still encoded."""

    def read(index):
        example = source[int(index)]
        try:
            return decode(example["image"]), int(example["label"])
        except ValueError as error:
            raise ValueError(
                f"{description}: image {index} cannot be decoded: {error}. Prepare the "
                f"data set again; that names each file which cannot be read."
            ) from error

    def labels(indices):
        return np.array([source[int(i)]["label"] for i in indices], np.int32)

    return Examples(len(source), read, labels)


def _digest(folder: pathlib.Path) -> str:
    sha256 = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        sha256.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        if path.suffix in (".json", ".txt"):
            sha256.update(path.read_bytes())
    return sha256.hexdigest()
