"""Threads read batches ahead of time without changing them."""

import threading

import numpy as np
import pytest

from egnas_jax.retrain.prefetch import SLICE, Prefetch

SIZE = 2 * SLICE + 3


def rows(step):
    return step // 2, np.arange(SIZE) + 100 * step


def read_image(epoch, row):
    return np.full((2, 2, 1), (epoch * 7 + row) % 256, np.uint8), row


def test_batches_are_complete_and_in_order_whichever_were_started():
    prefetch = Prefetch(rows, read_image)
    prefetch.start(4)
    for step in (3, 4, 5):
        images, labels = prefetch.take(step)
        epoch, expected = rows(step)
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(images[:, 0, 1, 0], (epoch * 7 + expected) % 256)
        assert images.dtype == np.uint8 and labels.dtype == np.int32
    prefetch.close()


def test_a_started_batch_is_read_in_the_background_and_once():
    seen, is_started = [], threading.Event()

    def read(epoch, row):
        seen.append(row)
        is_started.set()
        return read_image(epoch, row)

    prefetch = Prefetch(rows, read)
    prefetch.start(1)
    assert is_started.wait(10)  # before `take` is called
    prefetch.take(1)
    assert sorted(seen) == rows(1)[1].tolist()
    prefetch.close()


def test_an_unreadable_image_fails_its_own_batch_alone():
    def read(epoch, row):
        if row == 7:
            raise ValueError("image 7 cannot be decoded")
        return read_image(epoch, row)

    prefetch = Prefetch(rows, read)
    prefetch.start(0)
    prefetch.start(1)
    with pytest.raises(ValueError, match="image 7"):
        prefetch.take(0)
    assert len(prefetch.take(1)[1]) == SIZE
    prefetch.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
