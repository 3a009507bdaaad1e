"""Which images train the weights, which validate, which test.

Numpy's PCG64 seeded by the run's seed: a split needs no device.
"""

from typing import NamedTuple

import numpy as np

from egnas_jax.data.source import Dataset

# of a set without an official test part: train, validation, test
FRACTIONS = (0.4, 0.4, 0.2)
KINDS = ("permutation", "file_order")


class Split(NamedTuple):
    """Images u8 [N, H, W, C] and labels i32 [N] on the host."""

    images: np.ndarray
    labels: np.ndarray


class Splits(NamedTuple):
    """Train and validation parts drive the search; test is for retraining alone."""

    train: Split
    valid: Split
    test: Split


def make_splits(dataset: Dataset, kind: str, seed: int) -> Splits:
    """Cuts a data set: halves of the training pool where there is an official test
    set, else 40/40/20.

    Args:
      dataset: the data.
      kind: "permutation" by seed (stratified by class where no test set is given), or
        "file_order".
      seed: of the permutation.

    Raises:
      ValueError: an unknown kind, or a part that would be empty.
    """
    if kind not in KINDS:
        raise ValueError(f"split is {kind!r}, but must be one of {', '.join(KINDS)}.")
    official = dataset.test_images is not None
    fractions = (0.5, 0.5, 0.0) if official else FRACTIONS
    order = np.arange(len(dataset.labels))
    if kind == "permutation":
        shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(order)
        order = shuffled if official else _stratified(dataset.labels, shuffled)
    ends = np.round(np.cumsum(fractions) * len(order)).astype(int)
    train, valid, test = (
        Split(dataset.images[part], dataset.labels[part])
        for part in np.split(order, ends[:-1])
    )
    if official:
        test = Split(dataset.test_images, dataset.test_labels)
    for name, part in (("training", train), ("validation", valid)):
        if not len(part.labels):
            raise ValueError(f"{dataset.name} has {len(order)} images: the {name} part "
                             f"would be empty. Give more images.")  # fmt: skip
    return Splits(train, valid, test)


def _stratified(labels: np.ndarray, shuffled: np.ndarray) -> np.ndarray:
    """An order in which every stretch holds the classes in their proportions.

    The i-th of n images of a class stands at (i + 1/2) / n; equal places keep the
    shuffled order.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(place[shuffled], kind="stable")]
