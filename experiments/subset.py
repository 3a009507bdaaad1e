"""Fewer training images of a data set, the same ones for every run of an experiment."""

import pathlib

import numpy as np

from egnas_jax.data.config import DataConfig
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import stratified_indices


def words(
    data_dir: str | None, out: pathlib.Path, images: int, name: str = "cifar10"
) -> tuple[str, ...]:
    """What tells a command line where its images are.

    Args:
      data_dir: the only place to look for the data set; None: the usual ones.
      out: folder of the experiment, where the subset is written if it is missing.
      images: to train, of all; 0: the data set as it is.
      name: of the data set.

    Raises:
      ValueError: it is not there.
    """
    if not images:
        return ("--data-dir", data_dir) if data_dir else ()
    path = out / f"{name}-{images}.npz"
    if not path.exists():
        write(data_dir, path, images, name)
    return ("--set", f"data.path={path}")


def write(data_dir: str | None, path: pathlib.Path, images: int, name: str) -> None:
    """Training images, as many of each class, and all test images, as .npz."""
    dataset = load_dataset(DataConfig(name=name), data_dir)
    share = len(dataset.labels) // images
    pattern = (0, *([1] * (share - 1)))
    chosen, _ = stratified_indices(dataset.labels, pattern, 0, f"small {name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"half-{path.name}")  # a killed process leaves no half of it
    np.savez(
        half,
        images=dataset.images[chosen],
        labels=dataset.labels[chosen],
        test_images=dataset.test_images,
        test_labels=dataset.test_labels,
    )
    half.replace(path)
