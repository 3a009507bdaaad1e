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
    data_dir: str | None,
    out: pathlib.Path,
    images: int,
    name: str = "cifar10",
    side: int | None = None,
) -> Source:
    """Names a data set or a subset of it, which is written where it is missing.

    Args:
      data_dir: the only place to look for the data set; None for the usual places.
      out: folder of the experiment, for the subset.
      images: number of training images; 0 for the whole data set.
      name: of the data set.
      side: pixels to which the images of a subset are averaged; None: as they are.

    Raises:
      ValueError: the data set is not there.
    """
    if not images:
        return Source(data_dir, {})
    path = out / f"{name}-{images}{f'-{side}' if side else ''}.npz"
    if not path.exists():
        write(data_dir, path, images, name, side)
    return Source(None, {"data.path": str(path)})


def write(
    data_dir: str | None,
    path: pathlib.Path,
    images: int,
    name: str,
    side: int | None = None,
) -> None:
    """Writes training images, equally many of each class, and all test images.

    Arguments are those of `locate`, but for the path of the new file.
    """
    dataset = load_dataset(DataConfig(name=name), data_dir)
    share = len(dataset.labels) // images
    pattern = (0, *([1] * (share - 1)))
    chosen, _ = stratified_indices(dataset.labels, pattern, 0, f"small {name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A process that is killed leaves no incomplete file under the final name.
    temporary = path.with_name(f"half-{path.name}")
    np.savez(
        temporary,
        images=averaged(dataset.images[chosen], side),
        labels=dataset.labels[chosen],
        test_images=averaged(dataset.test_images, side),
        test_labels=dataset.test_labels,
    )
    temporary.replace(path)


def averaged(images: np.ndarray, side: int | None) -> np.ndarray:
    """Images u8[N, H, W, C] as u8[N, side, side, C], whose pixels are means of squares.

    Raises:
      ValueError: the side of the images is no multiple of the new one.
    """
    if side is None:
        return images
    count, height, width, channels = images.shape
    if height != width or height % side:
        raise ValueError(
            f"Images of {height} x {width} pixels cannot be averaged to {side} x "
            f"{side}: they must be square, and their side a multiple of {side}."
        )
    squares = images.reshape(count, side, height // side, side, -1, channels)
    return np.rint(squares.mean(axis=(2, 4))).astype(np.uint8)
