"""Test images that a network was trained on are noted."""

import numpy as np
import pytest

from egnas_jax.data.config import DataConfig
from egnas_jax.data.files.arrays import load_for_evaluation, load_npz
from egnas_jax.runs.data import digest_of
from egnas_jax.runs.seen_images import note_seen, num_seen

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 8, 2), np.uint8)
LABELS = np.arange(20) % 2


def write(path, images=IMAGES, labels=LABELS, **more):
    np.savez(path, images=images, labels=labels, **more)
    return path


@pytest.fixture
def trained(tmp_path):
    """The data of a training: 16 of the 20 images of a file."""
    path = write(tmp_path / "mine.npz")
    return DataConfig(pad=0, path=str(path), digest=digest_of(load_npz(path, seed=3)))


def note(path, trained, caplog):
    """What is said of a file."""

    def is_own(pool):
        own = load_npz(path, seed=3)
        return digest_of(own) == trained.digest and len(pool.labels) == len(own.labels)

    dataset = load_for_evaluation(path, 2, 3, is_own)
    caplog.clear()
    note_seen(str(path), dataset, trained, 3)
    return caplog.text


def test_the_file_of_the_training_needs_no_note(trained, tmp_path, caplog):
    assert note(tmp_path / "mine.npz", trained, caplog) == ""


def test_images_of_another_order_are_counted(trained, tmp_path, caplog):
    path = write(tmp_path / "reversed.npz", IMAGES[::-1], LABELS[::-1])
    said = note(path, trained, caplog)
    assert "trained on 16 of the 20 images that are evaluated" in said


def test_test_images_are_counted_too(trained, tmp_path, caplog):
    pool = load_npz(tmp_path / "mine.npz", seed=3)
    few = dict(test_images=pool.images[:3], test_labels=pool.labels[:3])
    said = note(write(tmp_path / "other.npz", **few), trained, caplog)
    assert "trained on 3 of the 3 images" in said


def test_other_images_need_no_note(trained, tmp_path, caplog):
    assert note(write(tmp_path / "new.npz", 255 - IMAGES), trained, caplog) == ""


def test_a_file_that_has_changed_is_suspected(trained, tmp_path, caplog):
    more = np.concatenate([IMAGES, IMAGES[:1]]), np.append(LABELS, 0)
    said = note(write(tmp_path / "mine.npz", *more), trained, caplog)
    assert "has the name of the file" in said and "All 21 are evaluated" in said


def test_images_of_digits_are_known(tmp_path, caplog):
    from egnas_jax.data.source import load_dataset

    digits = load_dataset(DataConfig(), seed=3)
    trained = DataConfig(digest=digest_of(digits))
    both = np.concatenate([digits.images[:30], digits.test_images[:10]])
    path = write(tmp_path / "some.npz", both, np.arange(40) % 2)
    assert "trained on 30 of the 40 images" in note(path, trained, caplog)


def test_equal_images_are_counted_each_time():
    assert num_seen(IMAGES[[0, 0, 5, 7]], IMAGES[:6]) == 3
