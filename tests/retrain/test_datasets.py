"""Images on the device and images that are read: the same batches, and sizes."""

import dataclasses

import jax
import numpy as np
import pytest

from egnas_jax.data.crops import centre_crop, random_resized_crop
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.examples import open_arrays
from egnas_jax.retrain import datasets
from egnas_jax.retrain.input_pipeline import make_order, streamed_feed
from egnas_jax.runs import retrain_config
from egnas_jax.space import zoo

RNG = np.random.default_rng(0)
BASE = retrain_config.build(
    zoo["DARTS_V2"].genotype, overrides=["batch_size=7", "epochs=2"]
)


def dataset(channels=3):
    images = RNG.integers(0, 256, (50, 12, 10, channels), np.uint8)
    labels = np.arange(50, dtype=np.int32) % 10
    return Dataset(
        name="mine",
        images=images,
        labels=labels,
        test_images=images[:9],
        test_labels=labels[:9],
        num_classes=10,
        class_names=None,
        mean=(0.5,) * channels,
        std=(0.2,) * channels,
        stratified=True,
    )


def batches(given, first, count, size):
    chunk = given.feed.chunk(first, count, size)
    found = [jax.tree.map(np.asarray, given.feed.batch(chunk, i)) for i in range(count)]
    given.feed.close()
    return found


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_read_batches_are_those_on_the_device(share):
    data = dataset()
    config = dataclasses.replace(BASE, valid_share=share)
    here = datasets.resident(data, config)
    read = datasets.streamed(
        open_arrays(data), dataclasses.replace(config, stream=True)
    )
    assert here.feed.num_steps == read.feed.num_steps == round(50 * (1 - share)) // 7
    steps = read.feed.num_steps
    # over the border of two epochs, up to the run's last step
    for own, other in zip(
        batches(here, 3, 2 * steps - 3, 12),
        batches(read, 3, 2 * steps - 3, 12),
        strict=True,
    ):
        np.testing.assert_array_equal(own.images, other.images)
        np.testing.assert_array_equal(own.labels, other.labels)
        assert own.images.dtype == other.images.dtype == np.uint8
    assert (here.valid is None) == (read.valid is None) == (share == 0)
    for own, other in ((here.test, read.test), (here.valid, read.valid)):
        if own is not None:
            np.testing.assert_array_equal(own.images[3:8], other.images[3:8])
            np.testing.assert_array_equal(own.labels, other.labels)


def test_a_share_that_keeps_no_image_is_refused():
    config = dataclasses.replace(BASE, valid_share=0.009)
    with pytest.raises(ValueError, match=r"0.009, which keeps none of 50 .* 0.02 or"):
        datasets.resident(dataset(), config)


def test_nothing_is_read_twice_or_beyond_the_end():
    read, asked, order = [], [], make_order(20, 6, seed=0)

    def one(epoch, row):
        read.append((epoch, row))
        return np.zeros((1, 1, 1), np.uint8), row

    def rows(step):
        asked.append(step)
        return order.rows(step)

    feed = streamed_feed(one, order._replace(rows=rows), last=6)
    for first in range(0, 6, 2):
        feed.chunk(first, 2, 2)
    feed.close()
    assert asked == list(range(6))
    assert len(read) == len(set(read)) == 6 * 6


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_brought_to_size_as_they_are_read(channels):
    data = dataset(channels)
    config = dataclasses.replace(BASE, stream=True, image_size=8, seed=4)
    given = datasets.streamed(open_arrays(data), config)
    assert given.image_shape == (8, 8, channels)
    assert given.test.images.shape == (9, 8, 8, channels)
    np.testing.assert_array_equal(
        given.test.images[2:4], [centre_crop(data.images[i], 8) for i in (2, 3)]
    )
    steps = given.feed.num_steps
    (batch,) = batches(given, steps + 1, 1, 2)  # of the second epoch
    resident = datasets.resident(data, dataclasses.replace(BASE, seed=4))
    _, chosen = resident.feed.chunk(steps + 1, 1, 1)
    expected = [
        random_resized_crop(data.images[i], 8, seed=4, epoch=1, index=i)
        for i in chosen[0].tolist()
    ]
    np.testing.assert_array_equal(batch.images, expected)


def test_channels_that_no_picture_has_are_refused():
    config = dataclasses.replace(BASE, stream=True, image_size=8)
    with pytest.raises(ValueError, match="images of 4 channels cannot be resized"):
        datasets.streamed(open_arrays(dataset(4)), config)
