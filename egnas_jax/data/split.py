"""Which images train the weights, which steer the search, which are only reported on.

Plain numpy. Random order comes from the raw 64-bit stream of PCG64, seeded by
(seed, crc32 of a purpose): unlike `Generator.permutation`, numpy promises that stream
to every later version, so a run can be resumed after an upgrade.

Dims: N images, H, W height and width in pixels, C channels.
"""

import zlib
from typing import NamedTuple

import numpy as np

from egnas_jax.data.dataset import Dataset
from egnas_jax.lookup import lookup

SPLIT_KINDS = {
    "permutation": "halves by seed; by class where the data set is small",
    "file_order": "first half trains, second half validates",
}

# Two fifths train, two validate, one tests; where the test set is fixed, halves.
HELD_OUT_PATTERN = (0, 0, 0, 0, 1)
HALVES_PATTERN = (0, 1)


class Split(NamedTuple):
    """Images of one purpose, on the host.

    Attributes:
      images: u8[N, H, W, C].
      labels: i32[N].
    """

    images: np.ndarray
    labels: np.ndarray


class Splits(NamedTuple):
    """A data set divided by purpose."""

    train: Split
    valid: Split
    test: Split


def seeded_order(size: int, seed: int, purpose: str) -> np.ndarray:
    """A random order of `size` things, i64[size].

    Args:
      size: how many.
      seed: from 0.
      purpose: orders of different purposes are independent.
    """
    stream = np.random.PCG64([seed, zlib.crc32(purpose.encode())])
    return np.argsort(stream.random_raw(size), kind="stable")


def stratified_indices(
    labels: np.ndarray, pattern: tuple[int, ...], seed: int, purpose: str
) -> tuple[np.ndarray, ...]:
    """Deals the images of each class out by a repeating pattern.

    Images are shuffled, sorted by class, and dealt like cards: part `pattern[i % len]`
    takes image i. A class therefore differs from its exact share by less than one
    turn of the pattern, the whole by less than one image per entry, and a class of one
    image is no special case.

    Args:
      labels: [N].
      pattern: the part that each card of a turn goes to; parts are 0, 1, ...
      seed, purpose: as in `seeded_order`.

    Returns:
      Per part the indices in ascending order, i64 each; disjoint, together all of N.
    """
    order = seeded_order(len(labels), seed, purpose)
    by_class = order[np.argsort(labels[order], kind="stable")]
    parts = np.resize(np.asarray(pattern), len(labels))
    return tuple(np.sort(by_class[parts == part]) for part in range(max(pattern) + 1))


def split_indices(
    labels: np.ndarray, kind: str, seed: int, *, stratified: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Halves of a pool: (training, validation), ascending indices; odd ones train.

    Args:
      labels: of the pool, [N].
      kind: a key of `SPLIT_KINDS`. The reference splits in file order; by seed is the
        fairer choice where a file is sorted.
      seed: of "permutation".
      stratified: whether "permutation" keeps the shares of the classes.

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
        everything = np.arange(len(labels))
        return everything[:half], everything[half:]
    if stratified:
        return stratified_indices(labels, HALVES_PATTERN, seed, "train and validation")
    order = seeded_order(len(labels), seed, "train and validation")
    return np.sort(order[:half]), np.sort(order[half:])


def hold_out(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[Split, Split]:
    """(pool, test): a fifth of each class is set aside for tests.

    The choice depends on the seed alone, not on how the pool is split later, so that
    methods with different splits are tested on the same images.

    Args:
      images: u8[N, H, W, C].
      labels: i32[N].
      seed: from 0.

    Raises:
      ValueError: fewer than 5 images.
    """
    if len(labels) < len(HELD_OUT_PATTERN):
        raise ValueError(
            f"{len(labels)} image(s) cannot be split into training, validation and "
            f"test; at least {len(HELD_OUT_PATTERN)} are needed, or test_images and "
            "test_labels of your own."
        )
    parts = stratified_indices(labels, HELD_OUT_PATTERN, seed, "test")
    pool, test = (Split(images[part], labels[part]) for part in parts)
    return pool, test


def make_splits(dataset: Dataset, kind: str, seed: int) -> Splits:
    """Divides a data set into training, validation and test images.

    Args:
      dataset: its pool is halved; its test set stays what it is.
      kind: a key of `SPLIT_KINDS`.
      seed: from 0; the same as `load_dataset` was given.

    Raises:
      ValueError: unknown kind, or too few images.
    """
    parts = split_indices(dataset.labels, kind, seed, stratified=dataset.stratified)
    train, valid = (Split(dataset.images[i], dataset.labels[i]) for i in parts)
    return Splits(train, valid, Split(dataset.test_images, dataset.test_labels))
