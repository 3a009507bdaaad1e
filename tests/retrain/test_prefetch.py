"""Batches that threads read."""

import threading

import numpy as np
import pytest

from egnas_jax.retrain.prefetch import SLICE, Prefetch

SIZE = 2 * SLICE + 3


def rows(step):
    return step // 2, np.arange(SIZE) + 100 * step


def image(epoch, row):
    return np.full((2, 2, 1), (epoch * 7 + row) % 256, np.uint8), row


def test_batches_come_whole_and_in_order_whatever_was_begun():
    ahead = Prefetch(rows, image)
    ahead.start(4)
    for step in (3, 4, 5):
        images, labels = ahead.take(step)
        epoch, own = rows(step)
        np.testing.assert_array_equal(labels, own)
        np.testing.assert_array_equal(images[:, 0, 1, 0], (epoch * 7 + own) % 256)
        assert images.dtype == np.uint8 and labels.dtype == np.int32
    ahead.close()


def test_what_was_begun_is_read_beside_the_caller_and_once():
    seen, begun = [], threading.Event()

    def read(epoch, row):
        seen.append(row)
        begun.set()
        return image(epoch, row)

    ahead = Prefetch(rows, read)
    ahead.start(1)
    assert begun.wait(10)  # nobody has asked for it yet
    ahead.take(1)
    assert sorted(seen) == rows(1)[1].tolist()
    ahead.close()


def test_an_image_that_cannot_be_read_ends_the_run_and_not_the_others():
    def read(epoch, row):
        if row == 7:
            raise ValueError("image 7 cannot be decoded")
        return image(epoch, row)

    ahead = Prefetch(rows, read)
    ahead.start(0)
    ahead.start(1)
    with pytest.raises(ValueError, match="image 7"):
        ahead.take(0)
    assert len(ahead.take(1)[1]) == SIZE
    ahead.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
