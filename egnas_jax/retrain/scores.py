"""What a classifier's logits are worth, on the host.

Source: expected calibration error as Guo et al. (ICML 2017), 15 bins of equal width.

Dims: N images, K classes.
"""

from typing import NamedTuple

import numpy as np

BINS = 15


class Scores(NamedTuple):
    """How well N images were classified.

    Attributes:
      n: images.
      loss: mean cross entropy.
      errors: images whose class is not the most probable one; of equal logits the
        first class counts, and an image whose logits are not finite is an error.
      top5: images whose class is among the five most probable ones; of five classes or
        fewer every one, unless its logits are not finite.
    """

    n: int
    loss: float
    errors: int
    top5: int

    @property
    def error(self) -> float:
        """Wrong answers as a fraction."""
        return self.errors / self.n


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Log softmax of [N, K], in float64."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def score(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Scores of logits [N, K] against labels [N]."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    classes = np.arange(logits.shape[1])
    before = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    rank = before.sum(axis=1)
    rank = np.where(np.isfinite(logits).all(axis=1), rank, logits.shape[1])
    with np.errstate(invalid="ignore"):  # a loss that is not finite is told as such
        losses = -np.take_along_axis(log_probabilities(logits), labels[:, None], 1)
    return Scores(
        len(labels), float(losses.mean()), int((rank > 0).sum()), int((rank < 5).sum())
    )


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """i64[K, K]: images of each class (rows) by the class they were taken for."""
    num_classes = logits.shape[1]
    pairs = labels * num_classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, -1)


class Calibration(NamedTuple):
    """Confidence against accuracy, in bins of the confidence.

    Attributes:
      error: expected calibration error: |accuracy - confidence| of a bin, averaged
        over the images.
      count, confidence, accuracy: of each bin, [BINS]; 0 where a bin is empty.
    """

    error: float
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """How far the probability of an answer tells how often it is right."""
    probabilities = np.exp(log_probabilities(logits))
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.maximum(np.ceil(confidence * BINS).astype(int), 1) - 1  # (low, high]

    def total(values):
        return np.bincount(bins, weights=values, minlength=BINS)

    count, right, confidence = (
        total(np.ones(len(bins))),
        total(right),
        total(confidence),
    )
    error = np.abs(right - confidence).sum() / len(labels)
    held = np.maximum(count, 1)
    return Calibration(float(error), count, confidence / held, right / held)
