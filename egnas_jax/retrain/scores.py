"""Scores logits against labels, on the host: errors, loss, confusion, calibration.

Source: expected calibration error as Guo et al. (ICML 2017), 15 bins of equal width.

Dims: N images, K classes.
"""

from typing import NamedTuple

import chex
import numpy as np

from egnas_jax.data.labels import checked_labels

BINS = 15


class Scores(NamedTuple):
    """How well N images were classified.

    Attributes:
      n: number of images.
      loss: mean cross entropy.
      errors: images whose class is not the most probable one. Among equal logits the
        first class counts, and an image with a logit that is not finite is an error.
      top5: images whose class is among the five most probable ones. With five classes
        or fewer that is every image whose logits are finite.
    """

    n: int
    loss: float
    errors: int
    top5: int

    @property
    def error(self) -> float:
        """The fraction of wrong answers."""
        return self.errors / self.n


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Log softmax of logits [N, K], in float64."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def score(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Scores of logits [N, K] against labels [N].

    Raises:
      ValueError: there are no images, another number of labels, or labels that are no
        classes.
    """
    chex.assert_rank(logits, 2)
    labels = checked_labels(labels, *logits.shape)
    correct = np.take_along_axis(logits, labels[:, None], axis=1)
    classes = np.arange(logits.shape[1])
    ahead = (logits > correct) | ((logits == correct) & (classes < labels[:, None]))
    rank = ahead.sum(axis=1)
    rank = np.where(np.isfinite(logits).all(axis=1), rank, logits.shape[1])
    with np.errstate(invalid="ignore"):  # the caller reports a loss that is not finite
        losses = -np.take_along_axis(log_probabilities(logits), labels[:, None], 1)
    return Scores(
        n=len(labels),
        loss=float(losses.mean()),
        errors=int((rank > 0).sum()),
        top5=int((rank < 5).sum()),
    )


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts i64[K, K] of images by their class (rows) and the predicted class.

    Raises:
      ValueError: the labels do not fit the logits.
    """
    labels, num_classes = checked_labels(labels, *logits.shape), logits.shape[1]
    # Labels may be of a type that the products do not fit.
    pairs = np.asarray(labels, np.int64) * num_classes + logits.argmax(axis=1)
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
    """How well the probability of an answer predicts how often it is right.

    Raises:
      ValueError: the labels do not fit the logits.
    """
    labels = checked_labels(labels, *logits.shape)
    probabilities = np.exp(log_probabilities(logits))
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    bins = np.maximum(np.ceil(confidence * BINS).astype(int), 1) - 1  # (low, high]

    def sum_by_bin(values):
        return np.bincount(bins, weights=values, minlength=BINS)

    count = sum_by_bin(np.ones(len(bins)))
    right, confidence = sum_by_bin(is_right), sum_by_bin(confidence)
    error = np.abs(right - confidence).sum() / len(labels)
    divisor = np.maximum(count, 1)
    return Calibration(float(error), count, confidence / divisor, right / divisor)
