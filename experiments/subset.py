"""Writes a subset of a data set, the same for all runs of an experiment."""

import pathlib
from typing import NamedTuple

import numpy as np

from egnas_jax.data.config import DataConfig
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import stratified_indices


class Source(NamedTuple):
    """Where the images of a run are.

    Attributes:
      data_dir: the only place to look for the data set; None for the usual places.
      settings: settings that name the images.
    """

    data_dir: str | None
    settings: dict[str, str]


def locate(
    data_dir: str | None, out: pathlib.Path, images: int, name: str = "cifar10"
) -> Source:
    """Names a data set or a subset of it, which is written where it is missing.

    Args:
      data_dir: the only place to look for the data set; None for the usual places.
      out: folder of the experiment, for the subset.
      images: number of training images; 0 for the whole data set.
      name: of the data set.

    Raises:
      ValueError: the data set is not there.
    """
    if not images:
        return Source(data_dir, {})
    path = out / f"{name}-{images}.npz"
    if not path.exists():
        write(data_dir, path, images, name)
    return Source(None, {"data.path": str(path)})


def write(data_dir: str | None, path: pathlib.Path, images: int, name: str) -> None:
    """Writes training images, equally many of each class, and all test images."""
    dataset = load_dataset(DataConfig(name=name), data_dir)
    share = len(dataset.labels) // images
    pattern = (0, *([1] * (share - 1)))
    chosen, _ = stratified_indices(dataset.labels, pattern, 0, f"small {name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A process that is killed leaves no incomplete file under the final name.
    temporary = path.with_name(f"half-{path.name}")
    np.savez(
        temporary,
        images=dataset.images[chosen],
        labels=dataset.labels[chosen],
        test_images=dataset.test_images,
        test_labels=dataset.test_labels,
    )
    temporary.replace(path)
