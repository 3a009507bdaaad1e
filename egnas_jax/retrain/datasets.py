"""Divides a data set into training batches, validation images and test images.

Dims: N images, S side of a square, H, W height and width in pixels, C channels.
"""

import concurrent.futures
import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.data.batches import check_batch_size
from egnas_jax.data.config import check_augmentation
from egnas_jax.data.crops import centre_crop, random_resized_crop
from egnas_jax.data.dataset import Dataset, LabelledImages
from egnas_jax.data.examples import Examples, StreamedDataset
from egnas_jax.data.split import seeded_order
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.input_pipeline import (
    InputPipeline,
    make_order,
    resident_pipeline,
    streamed_pipeline,
)
from egnas_jax.types import PyTree


class RetrainData(NamedTuple):
    """The data of a retraining, or of several that differ in the seed.

    Attributes:
      pipeline_of: seed of a run -> its training batches; all share the images.
      valid: images held out of the training images, or None where all of them train.
      test: the test images.
      image_shape: [H, W, C] of the network's input.
    """

    pipeline_of: Callable[[int], InputPipeline]
    valid: LabelledImages | None
    test: LabelledImages
    image_shape: tuple[int, int, int]


def make_data(
    source: Dataset | StreamedDataset,
    config: RetrainConfig,
    put: Callable[[PyTree], PyTree] = jax.device_put,
) -> RetrainData:
    """The data of a retraining, on the device or streamed as the configuration says.

    Args:
      source: the data set; `StreamedDataset` where `config.stream` is set.
      config: of the retraining.
      put: copies images that are not streamed to the device, or to several.

    Raises:
      ValueError: a batch is larger than the training set; `valid_share` holds out no
        image; or images cannot be resized or augmented as the configuration says.
    """
    if config.stream:
        return _streamed(source, config)
    return _resident(source, config, put)


def _resident(dataset: Dataset, config: RetrainConfig, put: Callable) -> RetrainData:
    train_rows, valid_rows = split_rows(len(dataset.labels), config)
    check_batch_size(config.batch_size, len(train_rows))
    train, valid = (
        LabelledImages(dataset.images[rows], dataset.labels[rows])
        for rows in (train_rows, valid_rows)
    )
    pixels = put(train)
    return RetrainData(
        pipeline_of=functools.partial(resident_pipeline, pixels, config.batch_size),
        valid=valid if len(valid_rows) else None,
        test=make_test_split(dataset, config),
        image_shape=tuple(dataset.images.shape[1:]),
    )


def _streamed(opened: StreamedDataset, config: RetrainConfig) -> RetrainData:
    shape = _image_shape(opened, config.image_size)
    check_augmentation(config.data, *shape)
    train_rows, valid_rows = split_rows(opened.train.size, config)
    check_batch_size(config.batch_size, len(train_rows))

    def read(seed, epoch, row):
        index = int(train_rows[row])
        image, label = opened.train.read(index)
        if config.image_size is None:
            return image, label
        crop = random_resized_crop(
            image, config.image_size, seed=seed, epoch=epoch, index=index
        )
        return crop, label

    def pipeline_of(seed):
        order = make_order(len(train_rows), config.batch_size, seed)
        last_step = config.epochs * order.num_steps
        return streamed_pipeline(functools.partial(read, seed), order, last_step)

    valid = None
    if len(valid_rows):
        valid = _lazy_split(opened.train, valid_rows, shape, config)
    return RetrainData(
        pipeline_of=pipeline_of,
        valid=valid,
        test=make_test_split(opened, config),
        image_shape=shape,
    )


def make_test_split(
    source: Dataset | StreamedDataset, config: RetrainConfig
) -> LabelledImages:
    """The test images as the network sees them; streamed ones are read lazily.

    Raises:
      ValueError: images of this number of channels cannot be resized.
    """
    if isinstance(source, Dataset):
        return LabelledImages(source.test_images, source.test_labels)
    rows = np.arange(source.test.size)
    return _lazy_split(
        source.test, rows, _image_shape(source, config.image_size), config
    )


def split_rows(num_images: int, config: RetrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training images and of the validation images, ascending.

    Raises:
      ValueError: `valid_share` is less than half an image.
    """
    num_valid = round(config.valid_share * num_images)
    if config.valid_share and not num_valid:
        raise ValueError(
            f"valid_share is {config.valid_share}, which keeps none of {num_images} "
            f"images for validation. Set it to {1 / num_images:.1g} or more, or to 0."
        )
    order = seeded_order(num_images, config.split_seed, "retrain validation")
    return np.sort(order[num_valid:]), np.sort(order[:num_valid])


def _image_shape(opened: StreamedDataset, size: int | None) -> tuple[int, int, int]:
    if size is None:
        return opened.image_shape
    channels = opened.image_shape[-1] if opened.image_shape else 3
    if channels not in (1, 3):
        raise ValueError(
            f"image_size is {size}, but images of {channels} channels cannot be "
            f"resized: allowed are 1 and 3. Leave image_size out."
        )
    return size, size, channels


def _lazy_split(examples: Examples, rows, shape, config) -> LabelledImages:
    images = LazyImages(examples.read, rows, shape, config.image_size)
    return LabelledImages(images, examples.labels(rows))


class LazyImages:
    """An array u8[N, H, W, C] that reads the images of a slice when it is indexed."""

    ndim = 4

    def __init__(
        self,
        read: Callable,
        rows: np.ndarray,
        shape: tuple[int, int, int],
        size: int | None,
    ):
        """Reads nothing yet.

        Args:
          read: index -> (image, label).
          rows: indices of the images, [N].
          shape: [H, W, C] of every image.
          size: S of the centre square to resize to, or None for images as they are.
        """
        self._read, self._rows, self._size = read, rows, size
        self.shape = (len(rows), *shape)
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.stack(list(self._pool.map(self._read_image, self._rows[part])))

    def _read_image(self, index):
        image, _ = self._read(int(index))
        return image if self._size is None else centre_crop(image, self._size)
