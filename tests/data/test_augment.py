"""What augmentation does to pixels."""

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.data.augment import augment, normalise
from egnas_jax.data.batches import draw_batch, epoch_order
from egnas_jax.data.source import DataConfig

KEY = jax.random.key(0)
ONE = ((0.0,), (1.0,))  # mean and std that leave pixels / 255


def ramp(count):
    row = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) + 100
    return jnp.asarray(np.repeat(row, count, axis=0))


def test_normalise_by_hand():
    out = normalise(jnp.full((1, 1, 1, 1), 51, jnp.uint8), (0.1,), (0.5,))
    np.testing.assert_allclose(out, 0.2, rtol=1e-5)  # (51 / 255 - 0.1) / 0.5


def test_crops_cover_every_shift_and_pad_with_black():
    out = augment(KEY, ramp(200), DataConfig(pad=1), *ONE)
    pixels = np.round(np.asarray(out)[..., 0] * 255).astype(int)
    padded = np.pad(np.asarray(ramp(1))[0, ..., 0], 1)
    windows = {(i, j): padded[i : i + 8, j : j + 8] for i in range(3) for j in range(3)}
    seen = set()
    for image in pixels:
        seen |= {at for at, w in windows.items() if np.array_equal(w, image)}
    assert seen == set(windows)


def test_flips_mirror_about_half_of_the_images():
    out = augment(KEY, ramp(200), DataConfig(pad=0, flip=True), *ONE)
    mirrored = np.asarray(out)[:, 0, 0, 0] > np.asarray(out)[:, 0, -1, 0]
    assert 70 < mirrored.sum() < 130


def test_cutout_zeroes_a_clipped_square():
    out = augment(KEY, ramp(50), DataConfig(pad=0, cutout=4), *ONE)
    holes = np.asarray(out)[..., 0] == 0
    assert holes.sum(axis=(1, 2)).max() == 16
    assert all(2 * 2 <= n <= 16 for n in holes.sum(axis=(1, 2)))


def test_an_epoch_visits_every_image_once_and_depends_on_the_epoch():
    order, rest = epoch_order(KEY, 3, 10, 4)
    assert order.shape == (2, 4)
    assert sorted([*order.ravel().tolist(), *rest.tolist()]) == list(range(10))
    other, _ = epoch_order(KEY, 4, 10, 4)
    assert not np.array_equal(order, other)
    assert len(set(draw_batch(KEY, 10, 6).tolist())) == 6
