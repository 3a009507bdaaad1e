"""The order of batches is a function of key and epoch, with every image once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.data.batches import (
    check_batch_size,
    draw_batch,
    epoch_permutation,
    num_steps,
)

KEY = jax.random.key(0)


def test_an_epoch_contains_every_image_once():
    order = epoch_permutation(KEY, 23, 0)
    assert order.dtype == jnp.int32
    assert sorted(order.tolist()) == list(range(23))


def test_the_epoch_number_determines_the_order():
    first, second = epoch_permutation(KEY, 50, 0), epoch_permutation(KEY, 50, 1)
    assert first.tolist() != second.tolist()
    traced = jax.jit(epoch_permutation, static_argnums=1)(KEY, 50, jnp.int32(1))
    np.testing.assert_array_equal(traced, second)


@pytest.mark.parametrize(
    ("images", "size", "keep_last", "steps"),
    [
        (25_000, 256, False, 97),
        (25_000, 256, True, 98),
        (20, 5, True, 4),
        (3, 5, True, 1),
    ],
)
def test_number_of_steps_in_an_epoch(images, size, keep_last, steps):
    assert num_steps(images, size, keep_last) == steps


def test_a_drawn_batch_contains_no_image_twice():
    batch = draw_batch(KEY, 40, 30)
    assert batch.dtype == jnp.int32 and len(set(batch.tolist())) == 30
    assert batch.tolist() != draw_batch(jax.random.key(1), 40, 30).tolist()


def test_the_batches_of_a_key_hold_every_image():
    """Four batches of three take ten images, and the first two of them once more."""
    batches = [draw_batch(KEY, 10, 3, jnp.int32(place)).tolist() for place in range(5)]
    order = batches[0] + batches[1] + batches[2] + batches[3][:1]
    assert sorted(order) == list(range(10))
    assert batches[3][1:] == order[:2] and batches[4] == order[2:5]
    assert batches[0] == draw_batch(KEY, 10, 3).tolist()


def test_every_image_is_drawn_equally_often():
    keys = jax.random.split(KEY, 2000)
    batches = jax.vmap(lambda key: draw_batch(key, 10, 3))(keys)
    share = np.bincount(batches.ravel(), minlength=10) / 2000
    np.testing.assert_allclose(share, 0.3, atol=0.05)  # 5 standard errors of 0.01


@pytest.mark.parametrize("size", [0, -1, 11, 2.0, True])
def test_a_batch_size_that_the_images_cannot_fill_is_refused(size):
    with pytest.raises(ValueError, match=f"batch_size is {size}; allowed is 1 to 10"):
        check_batch_size(size, 10)


def test_a_batch_may_contain_all_images():
    check_batch_size(10, 10)
