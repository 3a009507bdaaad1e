"""Makes the images of the benchmarks: synthetic ones, or those of CIFAR-10."""

import pathlib

import numpy as np

from egnas_jax.data.config import DataConfig
from egnas_jax.data.source import load_dataset

SEED = 0
CLASSES = 10
CIFAR_SIDE = 32


def synthetic(
    count: int, side: int, classes: int = CLASSES
) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic images u8[N, H, W, 3], a pattern of their class and noise; labels.

    A network can learn to classify them.
    """
    rng = np.random.RandomState(SEED)  # draws the same under every version of numpy
    labels = rng.randint(0, classes, count)
    patterns = rng.randint(64, 192, (classes, side, side, 3))
    noise = rng.randint(-64, 64, (count, side, side, 3))
    return (patterns[labels] + noise).astype(np.uint8), labels.astype(np.int32)


def cifar10_or_synthetic(
    count: int, side: int, data_dir: str | pathlib.Path | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """The first training images of CIFAR-10, or synthetic ones.

    Args:
      count: number of images, at most 50,000.
      side: of an image in pixels; CIFAR-10 has 32, so other sides are synthetic.
      data_dir: of CIFAR-10; None: synthetic images.

    Returns:
      Images u8[N, H, W, 3], labels i32[N], and where they are from.
    """
    if data_dir is None or side != CIFAR_SIDE:
        return *synthetic(count, side), "synthetic"
    data = load_dataset(DataConfig(name="cifar10"), data_dir)
    return data.images[:count], data.labels[:count], "CIFAR-10"
