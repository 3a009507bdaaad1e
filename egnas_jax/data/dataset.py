"""Defines the records that every source of images fills.

Dims: N images, H, W height and width in pixels, C channels.
"""

from typing import NamedTuple

import numpy as np

# Of CIFAR-10's training images. The DARTS family uses them for CIFAR-100 too.
CIFAR_MEAN = (0.49139968, 0.48215827, 0.44653124)
CIFAR_STD = (0.24703233, 0.24348505, 0.26158768)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Keeps a constant channel from dividing by zero. Channels of photographs exceed 0.1.
STD_FLOOR = 1e-3


class LabelledImages(NamedTuple):
    """Images and labels: numpy arrays on the host, or JAX arrays on the device.

    Attributes:
      images: u8[N, H, W, C].
      labels: whole numbers from 0, [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def select(self, rows: np.ndarray) -> "LabelledImages":
        """The images and labels at the indices `rows`, in that order."""
        return LabelledImages(self.images[rows], self.labels[rows])


class Dataset(NamedTuple):
    """A data set in host memory, and what a network needs to know about it.

    Attributes:
      name: a key of `DATA_SETS`, or the stem of the user's file.
      images, labels: the pool, which is later split into training and validation
        images: u8[N, H, W, C] and i32[N].
      test_images, test_labels: the test set, which no decision depends on.
      num_classes: logits that a classifier needs; a class may have no image.
      class_names: one name per class, or None if the source has none.
      mean, std: per channel, of pixels scaled to [0, 1].
      stratified: whether a random split keeps the proportions of the classes.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    class_names: tuple[str, ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stratified: bool


def channel_statistics(images: np.ndarray) -> tuple[tuple, tuple]:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1].

    The statistics come from exact counts of the 256 pixel values, so they do not depend
    on the memory order of the images.

    Args:
      images: u8[N, H, W, C].

    Returns:
      (mean, std), each a tuple of C floats; std is at least `STD_FLOOR`.
    """
    values = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        share = counts / counts.sum()
        mean = float(share @ values)
        means.append(mean)
        stds.append(max(float(np.sqrt(share @ (values - mean) ** 2)), STD_FLOOR))
    return tuple(means), tuple(stds)
