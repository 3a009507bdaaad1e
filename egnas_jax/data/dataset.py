"""The record that every source of images fills, and checks on what fills it.

Dims: N images, H, W height and width in pixels, C channels.
"""

from typing import NamedTuple

import numpy as np

# Of CIFAR-10's training images; the DARTS family uses them for CIFAR-100 too.
CIFAR_MEAN = (0.49139968, 0.48215827, 0.44653124)
CIFAR_STD = (0.24703233, 0.24348505, 0.26158768)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# A channel that never changes must not divide by zero; real ones are above 0.1.
STD_FLOOR = 1e-3


class Dataset(NamedTuple):
    """Images and labels on the host, and what is needed to use them.

    Attributes:
      name: a key of `DATA_SETS`, or the stem of the user's file.
      images: the pool that is split into training and validation, u8[N, H, W, C].
      labels: i32[N], from 0.
      test_images, test_labels: held out; nothing is chosen by them.
      num_classes: logits that a classifier needs; some class may have no image.
      class_names: one name per class, or None where the source has none.
      mean, std: per channel, of pixels in [0, 1].
      stratified: whether a split by seed keeps the shares of the classes.
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
    """Mean and standard deviation per channel of pixels in [0, 1].

    Counts of the 256 values are exact, so neither memory order nor chunking changes
    the result.

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
