"""What a retraining trains on and is judged by: a feed, validation and test images.

Dims: N images, S side of a square, H, W height and width in pixels, C channels.
"""

import concurrent.futures
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from egnas_jax.data.batches import check_batch_size
from egnas_jax.data.config import check_augmentation
from egnas_jax.data.crops import centre_crop, random_resized_crop
from egnas_jax.data.dataset import Dataset, LabelledImages
from egnas_jax.data.examples import Examples, StreamedDataset
from egnas_jax.data.split import seeded_order
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.input_pipeline import (
    Feed,
    make_order,
    resident_feed,
    streamed_feed,
)


class Material(NamedTuple):
    """See the module.

    Attributes:
      feed: training batches.
      valid: kept out of training, or None where all images train.
      test: held out.
      image_shape: [H, W, C] of what the network sees.
    """

    feed: Feed
    valid: LabelledImages | None
    test: LabelledImages
    image_shape: tuple[int, int, int]


def resident(dataset: Dataset, config: RetrainConfig) -> Material:
    """All training images on the device.

    Raises:
      ValueError: fewer training images than a batch has.
    """
    trained, held = rows_by_purpose(len(dataset.labels), config)
    check_batch_size(config.batch_size, len(trained))
    train, valid = (
        LabelledImages(dataset.images[rows], dataset.labels[rows])
        for rows in (trained, held)
    )
    return Material(
        resident_feed(train, config.batch_size, config.seed),
        valid if len(held) else None,
        test_part(dataset, config),
        tuple(dataset.images.shape[1:]),
    )


def streamed(opened: StreamedDataset, config: RetrainConfig) -> Material:
    """Images that are read, and brought to size, when they are wanted.

    Raises:
      ValueError: fewer training images than a batch has, or images that cannot be
        brought to size or varied as the configuration asks.
    """
    shape = _shape(opened, config.image_size)
    check_augmentation(config.data, *shape)
    trained, held = rows_by_purpose(opened.train.size, config)
    check_batch_size(config.batch_size, len(trained))
    order = make_order(len(trained), config.batch_size, config.seed)

    def read(epoch, row):
        index = int(trained[row])
        image, label = opened.train.read(index)
        if config.image_size is None:
            return image, label
        crop = random_resized_crop(
            image, config.image_size, seed=config.seed, epoch=epoch, index=index
        )
        return crop, label

    return Material(
        streamed_feed(read, order, config.epochs * order.num_steps),
        _lazy(opened.train, held, shape, config) if len(held) else None,
        test_part(opened, config),
        shape,
    )


def test_part(
    source: Dataset | StreamedDataset, config: RetrainConfig
) -> LabelledImages:
    """The test images as the network sees them; of an opened data set, read late.

    Raises:
      ValueError: they cannot be brought to size.
    """
    if isinstance(source, Dataset):
        return LabelledImages(source.test_images, source.test_labels)
    rows = np.arange(source.test.size)
    return _lazy(source.test, rows, _shape(source, config.image_size), config)


def _lazy(examples: Examples, rows, shape, config) -> LabelledImages:
    images = LazyImages(examples.read, rows, shape, config.image_size)
    return LabelledImages(images, examples.labels(rows))


def rows_by_purpose(num_images: int, config: RetrainConfig):
    """Images that train and those kept for validation: ascending indices.

    Raises:
      ValueError: a share is asked for that is less than half an image.
    """
    held = round(config.valid_share * num_images)
    if config.valid_share and not held:
        raise ValueError(
            f"valid_share is {config.valid_share}, which keeps none of {num_images} "
            f"images for validation. Set it to {1 / num_images:.1g} or more, or to 0."
        )
    order = seeded_order(num_images, config.split_seed, "retrain validation")
    return np.sort(order[held:]), np.sort(order[:held])


def _shape(opened, size):
    channels = opened.image_shape[-1] if opened.image_shape else 3
    if size is None:
        return opened.image_shape
    if channels not in (1, 3):
        raise ValueError(
            f"image_size is {size}, but images of {channels} channels cannot be "
            f"resized: allowed are 1 and 3. Leave image_size out."
        )
    return size, size, channels


class LazyImages:
    """u8[N, H, W, C] of which a slice is read when it is asked for."""

    ndim = 4

    def __init__(
        self, read: Callable, rows: np.ndarray, shape: tuple, size: int | None
    ):
        """Reads nothing.

        Args:
          read: index -> (image, label).
          rows: indices of the images, [N].
          shape: [H, W, C] of every image.
          size: S of the middle square, or None for images as they are.
        """
        self._read, self._rows, self._size = read, rows, size
        self.shape = (len(rows), *shape)
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.stack(list(self._pool.map(self._one, self._rows[part])))

    def _one(self, index):
        image, _ = self._read(int(index))
        return image if self._size is None else centre_crop(image, self._size)
