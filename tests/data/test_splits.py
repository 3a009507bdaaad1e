"""Images are dealt out completely, without overlap, and the same for the same seed."""

import numpy as np
import pytest

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import (
    hold_out,
    make_splits,
    seeded_order,
    split_indices,
    stratified_indices,
)

LABELS = np.repeat(np.arange(10), 17)


@pytest.mark.parametrize("kind", ["permutation", "file_order"])
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("size", [2, 7, 170])
def test_halves_are_disjoint_and_cover_the_pool(kind, stratified, size):
    train, valid = split_indices(LABELS[:size], kind, 0, stratified=stratified)
    assert sorted([*train, *valid]) == list(range(size))
    assert len(train) - len(valid) in (0, 1)


def test_file_order_is_first_half_then_second():
    train, valid = split_indices(LABELS, "file_order", seed=5)
    assert list(train) == list(range(85)) and list(valid) == list(range(85, 170))


def test_a_permutation_depends_on_the_seed_alone():
    first, again = (split_indices(LABELS, "permutation", 3)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = split_indices(LABELS, "permutation", 4)[0]
    # two halves at random share about half of their images
    assert 25 < len(np.intersect1d(first, other)) < 60


def test_the_order_of_a_seed_never_changes():
    # computed once; a resumed run relies on it
    assert list(seeded_order(8, 0, "test")) == [5, 7, 1, 0, 4, 2, 3, 6]


@pytest.mark.parametrize("pattern", [(0, 1), (0, 0, 0, 0, 1), (0, 1, 2)])
def test_every_class_is_dealt_in_proportion(pattern):
    parts = stratified_indices(LABELS, pattern, 0, "test")
    assert sorted(np.concatenate(parts)) == list(range(170))
    for number, part in enumerate(parts):
        share = pattern.count(number) / len(pattern)
        assert abs(len(part) - 170 * share) <= pattern.count(number)
        per_class = np.bincount(LABELS[part], minlength=10)
        assert np.all(np.abs(per_class - 17 * share) <= pattern.count(number))


def test_classes_of_one_image_are_dealt_too():
    train, valid = stratified_indices(np.arange(6), (0, 1), 0, "test")
    assert len(train) == len(valid) == 3


def test_digits_are_two_fifths_two_fifths_one_fifth_by_class():
    splits = make_splits(load_dataset(DataConfig(), seed=1), "permutation", seed=1)
    assert [len(part.labels) for part in splits] == [719, 719, 359]
    counts = [np.bincount(part.labels, minlength=10) for part in splits]
    total = np.sum(counts, axis=0)
    for count, share in zip(counts, (0.4, 0.4, 0.2), strict=True):
        assert np.all(np.abs(count - share * total) < 3)


def test_the_test_images_do_not_depend_on_the_kind_of_split():
    dataset = load_dataset(DataConfig(), seed=2)
    by_seed = make_splits(dataset, "permutation", 2)
    in_order = make_splits(dataset, "file_order", 2)
    np.testing.assert_array_equal(by_seed.test.images, in_order.test.images)
    assert not np.array_equal(by_seed.train.labels, in_order.train.labels)


def test_another_seed_tests_other_images():
    one, two = (load_dataset(DataConfig(), seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.test_images, two.test_images)


def test_images_keep_their_labels():
    images = np.arange(170, dtype=np.uint8).reshape(170, 1, 1, 1)
    pool, test = hold_out(images, LABELS, seed=0)
    for part in (pool, test):
        np.testing.assert_array_equal(LABELS[part.images.ravel()], part.labels)
    dataset = Dataset("x", *pool, *test, 10, None, (0.5,), (0.5,), stratified=True)
    for part in make_splits(dataset, "permutation", 0):
        np.testing.assert_array_equal(LABELS[part.images.ravel()], part.labels)


def test_a_fixed_test_set_is_left_alone():
    images = np.zeros((170, 1, 1, 1), np.uint8)
    test = (images[:30] + 9, LABELS[:30])
    dataset = Dataset("x", images, LABELS, *test, 10, None, (0.5,), (0.5,), False)
    splits = make_splits(dataset, "permutation", 0)
    assert [len(part.labels) for part in splits] == [85, 85, 30]
    np.testing.assert_array_equal(splits.test.images, test[0])


def test_too_few_images_and_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="1 image.*at least 2"):
        split_indices(LABELS[:1], "permutation", 0)
    with pytest.raises(ValueError, match="4 image.*at least 5"):
        hold_out(np.zeros((4, 1, 1, 1), np.uint8), LABELS[:4], 0)
    with pytest.raises(ValueError, match="Did you mean file_order"):
        split_indices(LABELS, "fileorder", 0)
