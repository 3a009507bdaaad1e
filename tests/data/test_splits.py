"""Splits are disjoint, cover all images, and depend on the seed alone."""

import numpy as np
import pytest

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import Dataset, LabelledImages
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import (
    hold_out,
    make_splits,
    seeded_order,
    split_indices,
    stratified_indices,
)

LABELS = np.repeat(np.arange(10), 17)


def make_dataset(pool, test, stratified):
    return Dataset(
        name="x",
        images=pool.images,
        labels=pool.labels,
        test_images=test.images,
        test_labels=test.labels,
        num_classes=10,
        class_names=None,
        mean=(0.5,),
        std=(0.5,),
        stratified=stratified,
    )


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
    of_other_seed = split_indices(LABELS, "permutation", 4)[0]
    # Two random halves have about half of their images in common.
    assert 25 < len(np.intersect1d(first, of_other_seed)) < 60


def test_the_order_of_a_seed_never_changes():
    # Recorded once. A resumed run relies on it.
    assert list(seeded_order(8, 0, "test")) == [5, 7, 1, 0, 4, 2, 3, 6]


@pytest.mark.parametrize("pattern", [(0, 1), (0, 0, 0, 0, 1), (0, 1, 2)])
def test_every_class_is_dealt_in_proportion(pattern):
    parts = stratified_indices(LABELS, pattern, 0, "test")
    assert sorted(np.concatenate(parts)) == list(range(170))
    for number, part in enumerate(parts):
        count = pattern.count(number)
        share = count / len(pattern)
        assert abs(len(part) - 170 * share) < count
        per_class = np.bincount(LABELS[part], minlength=10)
        assert np.all(np.abs(per_class - 17 * share) < count)


def test_classes_of_one_image_are_dealt_too():
    train, valid = stratified_indices(np.arange(6), (0, 1), 0, "test")
    assert len(train) == len(valid) == 3


def test_digits_are_split_two_two_one_in_every_class():
    splits = make_splits(load_dataset(DataConfig(), seed=1), "permutation", seed=1)
    assert [len(part.labels) for part in splits] == [719, 719, 359]
    counts = [np.bincount(part.labels, minlength=10) for part in splits]
    total = np.sum(counts, axis=0)
    for count, share in zip(counts, (0.4, 0.4, 0.2), strict=True):
        assert np.all(np.abs(count - share * total) < 3)


def test_the_test_images_do_not_depend_on_the_kind_of_split():
    dataset = load_dataset(DataConfig(), seed=2)
    permuted = make_splits(dataset, "permutation", 2)
    in_file_order = make_splits(dataset, "file_order", 2)
    np.testing.assert_array_equal(permuted.test.images, in_file_order.test.images)
    assert not np.array_equal(permuted.train.labels, in_file_order.train.labels)


def test_the_seed_chooses_the_test_images():
    first, second = (load_dataset(DataConfig(), seed=seed) for seed in (0, 1))
    assert not np.array_equal(first.test_images, second.test_images)


def test_images_keep_their_labels():
    indices = np.arange(170, dtype=np.uint8).reshape(170, 1, 1, 1)
    pool, test = hold_out(LabelledImages(indices, LABELS), seed=0)
    splits = make_splits(make_dataset(pool, test, True), "permutation", 0)
    for part in (pool, test, *splits):
        np.testing.assert_array_equal(LABELS[part.images.ravel()], part.labels)


def test_a_fixed_test_set_is_left_alone():
    pool = LabelledImages(np.zeros((170, 1, 1, 1), np.uint8), LABELS)
    test = LabelledImages(np.full((30, 1, 1, 1), 9, np.uint8), LABELS[:30])
    splits = make_splits(make_dataset(pool, test, False), "permutation", 0)
    assert [len(part.labels) for part in splits] == [85, 85, 30]
    np.testing.assert_array_equal(splits.test.images, test.images)


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="1 image.*at least 2"):
        split_indices(LABELS[:1], "permutation", 0)
    images = np.zeros((4, 1, 1, 1), np.uint8)
    with pytest.raises(ValueError, match="4 image.*at least 5"):
        hold_out(LabelledImages(images, LABELS[:4]), 0)


def test_an_unknown_kind_of_split_is_refused():
    with pytest.raises(ValueError, match="Did you mean file_order"):
        split_indices(LABELS, "fileorder", 0)
