"""Resident and streamed images give the same batches, in the right sizes."""

import dataclasses

import jax
import numpy as np
import pytest

from egnas_jax.data.crops import centre_crop, random_resized_crop
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.examples import open_arrays
from egnas_jax.retrain.datasets import make_data
from egnas_jax.retrain.input_pipeline import make_order, streamed_pipeline
from egnas_jax.runs.retrain_config import retrain_config

RNG = np.random.default_rng(0)
BASE = retrain_config(settings={"batch_size": 7, "epochs": 2})


def make_dataset(channels=3):
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


def batches(data, first, count, size, seed=0):
    pipeline = data.pipeline_of(seed)
    loaded = pipeline.load(first, count, size)
    steps = [pipeline.batch(loaded, i) for i in range(count)]
    pipeline.close()
    return jax.tree.map(np.asarray, steps)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_streamed_batches_equal_resident_ones(share):
    dataset = make_dataset()
    config = dataclasses.replace(BASE, valid_share=share)
    resident = make_data(dataset, config)
    config = dataclasses.replace(config, stream=True)
    streamed = make_data(open_arrays(dataset), config)
    steps = resident.pipeline_of(0).num_steps
    assert steps == streamed.pipeline_of(0).num_steps == round(50 * (1 - share)) // 7
    # across the border of two epochs, up to the last step of the run
    span = 3, 2 * steps - 3, 12
    for a, b in zip(batches(resident, *span), batches(streamed, *span), strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
        assert a.images.dtype == b.images.dtype == np.uint8
    assert (resident.valid is None) == (streamed.valid is None) == (share == 0)
    pairs = [(resident.test, streamed.test), (resident.valid, streamed.valid)]
    for a, b in pairs[: 1 if share == 0 else 2]:
        np.testing.assert_array_equal(a.images[3:8], b.images[3:8])
        np.testing.assert_array_equal(a.labels, b.labels)


def test_a_share_that_holds_out_no_image_is_refused():
    config = dataclasses.replace(BASE, valid_share=0.009)
    with pytest.raises(ValueError, match=r"0.009, which keeps none of 50 .* 0.02 or"):
        make_data(make_dataset(), config)


def test_no_image_is_read_twice_or_after_the_last_step():
    read_rows, steps, order = [], [], make_order(20, 6, seed=0)

    def read(epoch, row):
        read_rows.append((epoch, row))
        return np.zeros((1, 1, 1), np.uint8), row

    def rows(step):
        steps.append(step)
        return order.rows(step)

    pipeline = streamed_pipeline(read, order._replace(rows=rows), last_step=6)
    for first in range(0, 6, 2):
        pipeline.load(first, 2, 2)
    pipeline.close()
    assert steps == list(range(6))
    assert len(read_rows) == len(set(read_rows)) == 6 * 6


@pytest.mark.parametrize("channels", [1, 3])
def test_streamed_images_are_resized(channels):
    dataset = make_dataset(channels)
    config = dataclasses.replace(BASE, stream=True, image_size=8)
    data = make_data(open_arrays(dataset), config)
    assert data.image_shape == (8, 8, channels)
    assert data.test.images.shape == (9, 8, 8, channels)
    np.testing.assert_array_equal(
        data.test.images[2:4], [centre_crop(dataset.images[i], 8) for i in (2, 3)]
    )
    steps = data.pipeline_of(4).num_steps
    (batch,) = batches(data, steps + 1, 1, 2, seed=4)  # of the second epoch
    resident = make_data(dataset, BASE)
    _, rows = resident.pipeline_of(4).load(steps + 1, 1, 1)
    expected = [
        random_resized_crop(dataset.images[i], 8, seed=4, epoch=1, index=i)
        for i in rows[0].tolist()
    ]
    np.testing.assert_array_equal(batch.images, expected)


def test_images_of_four_channels_cannot_be_resized():
    config = dataclasses.replace(BASE, stream=True, image_size=8)
    with pytest.raises(ValueError, match="images of 4 channels cannot be resized"):
        make_data(open_arrays(make_dataset(4)), config)
