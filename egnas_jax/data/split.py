"""Splits a data set into training, validation and test images.

Random orders come from the raw 64-bit stream of PCG64, seeded by the seed and the crc32
of a purpose. NumPy guarantees that stream for all later versions, unlike
`Generator.permutation`, so a run can be resumed after an upgrade.

Dims: N images, H, W height and width in pixels, C channels.
"""

import zlib
from typing import NamedTuple

import numpy as np

from egnas_jax.data.dataset import Dataset, LabelledImages
from egnas_jax.lookup import lookup

SPLIT_KINDS = {
    "permutation": "random halves; small data sets are split class by class",
    "file_order": "the first half trains, the second half validates",
}

# Patterns of `stratified_indices`. With a test set that was held out, two fifths of the
# images train, two fifths validate and one fifth tests.
HOLD_OUT_PATTERN = (0, 0, 0, 0, 1)
HALVES_PATTERN = (0, 1)


class Splits(NamedTuple):
    """The images of a data set by purpose."""

    train: LabelledImages
    valid: LabelledImages
    test: LabelledImages


def seeded_order(size: int, seed: int, purpose: str) -> np.ndarray:
    """A random permutation of `size` items, i64[size].

    Args:
      size: number of items.
      seed: from 0.
      purpose: permutations for different purposes are independent.
    """
    stream = np.random.PCG64([seed, zlib.crc32(purpose.encode())])
    return np.argsort(stream.random_raw(size), kind="stable")


def stratified_indices(
    labels: np.ndarray, pattern: tuple[int, ...], seed: int, purpose: str
) -> tuple[np.ndarray, ...]:
    """Deals the images of each class out to parts by a repeating pattern.

    The images are shuffled, then sorted by class, then dealt like cards: image i goes
    to part `pattern[i % len(pattern)]`. Per class and in total, the size of a part
    differs from its exact share by less than the part's count in the pattern.

    Args:
      labels: [N].
      pattern: the part of each card in one turn; parts are numbered from 0.
      seed, purpose: arguments of `seeded_order`.

    Returns:
      For each part its indices in ascending order, i64. Every index is in one part.
    """
    order = seeded_order(len(labels), seed, purpose)
    by_class = order[np.argsort(labels[order], kind="stable")]
    parts = np.resize(np.asarray(pattern), len(labels))
    return tuple(np.sort(by_class[parts == part]) for part in range(max(pattern) + 1))


def split_indices(
    labels: np.ndarray, kind: str, seed: int, *, stratified: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Splits a pool into training and validation halves.

    Args:
      labels: of the pool, [N].
      kind: a key of `SPLIT_KINDS`. The reference code splits in file order. A
        permutation is the safer choice for a file that may be sorted.
      seed: of a permutation.
      stratified: whether a permutation keeps the proportions of the classes.

    Returns:
      Indices of the training and of the validation images, both ascending. An odd image
      trains.

    Raises:
      ValueError: unknown kind, or a pool of fewer than 2 images.
    """
    lookup(SPLIT_KINDS, kind, "split")
    if len(labels) < 2:
        raise ValueError(
            f"{len(labels)} image(s) cannot be split into training and validation; "
            "at least 2 are needed."
        )
    half = (len(labels) + 1) // 2
    if kind == "file_order":
        indices = np.arange(len(labels))
        return indices[:half], indices[half:]
    if stratified:
        return stratified_indices(labels, HALVES_PATTERN, seed, "train and validation")
    order = seeded_order(len(labels), seed, "train and validation")
    return np.sort(order[:half]), np.sort(order[half:])


def hold_out(
    examples: LabelledImages, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Holds a fifth of each class out for testing.

    The choice depends on the seed alone and not on how the pool is split later, so
    methods that split differently are tested on the same images.

    Args:
      examples: all images.
      seed: from 0.

    Returns:
      The pool and the test set.

    Raises:
      ValueError: fewer than 5 images.
    """
    labels = examples.labels
    if len(labels) < len(HOLD_OUT_PATTERN):
        raise ValueError(
            f"{len(labels)} image(s) cannot be split into training, validation and "
            f"test; at least {len(HOLD_OUT_PATTERN)} are needed, or test_images and "
            "test_labels of your own."
        )
    pool, test = stratified_indices(labels, HOLD_OUT_PATTERN, seed, "test")
    return examples.select(pool), examples.select(test)


def make_splits(dataset: Dataset, kind: str, seed: int) -> Splits:
    """Splits a data set into training, validation and test images.

    Args:
      dataset: its pool is split into halves; its test set is used as it is.
      kind: a key of `SPLIT_KINDS`.
      seed: from 0; the seed that `load_dataset` was called with.

    Raises:
      ValueError: unknown kind, or too few images.
    """
    pool = LabelledImages(dataset.images, dataset.labels)
    train, valid = split_indices(pool.labels, kind, seed, stratified=dataset.stratified)
    test = LabelledImages(dataset.test_images, dataset.test_labels)
    return Splits(pool.select(train), pool.select(valid), test)
