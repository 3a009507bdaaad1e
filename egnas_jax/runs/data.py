"""Names the data of a run: data sets from arrays, digests, absolute paths."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from egnas_jax.data.config import DataConfig, check_augmentation
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.files.arrays import from_arrays
from egnas_jax.storage import checkpoint

KEYS = ("images", "labels", "test_images", "test_labels")


def dataset_from_arrays(
    data: Sequence[Any], config: DataConfig, seed: int = 0
) -> Dataset:
    """The data set that an .npz of the same arrays would be.

    Args:
      data: (images u8[N, H, W, C], labels [N]), or the same followed by test images and
        test labels.
      config: how the images are varied. Its `name` is not looked at.
      seed: chooses the test images where there are none.

    Raises:
      ValueError: another number of arrays; an array of another type, shape or length;
        images that `config` cannot vary as it says; `config.path` names other data.
    """
    if config.path is not None:
        raise ValueError(
            f"Arrays were given, and data.path is {config.path!r}. Leave one of the "
            f"two out."
        )
    if len(data) not in (2, 4):
        raise ValueError(
            f"data holds {len(data)} entries. Give (images, labels), or (images, "
            f"labels, test_images, test_labels)."
        )
    arrays = {key: np.asarray(array) for key, array in zip(KEYS, data, strict=False)}
    dataset = from_arrays(arrays, seed, name="arrays", source="data")
    check_augmentation(config, *dataset.images.shape[1:])
    return dataset


def digest_of(dataset: Dataset) -> str:
    """Sha256 over the images and labels of a data set, without those of the test."""
    return checkpoint.digest({"images": dataset.images, "labels": dataset.labels})


def data_as_loaded(data: DataConfig, name: str, digest: str) -> DataConfig:
    """A data configuration with the digest of the loaded data and an absolute path.

    Args:
      data: the configuration that the data were loaded by.
      name, digest: of the loaded data.

    Raises:
      ValueError: the configuration names another digest.
    """
    if data.digest not in (None, digest):
        raise ValueError(
            f"The data {name} are not those that data.digest names: "
            f"{digest} was found, {data.digest} is wanted. Give the right data "
            f"by --data-dir, or leave data.digest unset in a new run."
        )
    data = dataclasses.replace(data, digest=digest)
    if data.path is not None:
        path = pathlib.Path(data.path).expanduser().resolve()
        data = dataclasses.replace(data, path=str(path))
    return data
