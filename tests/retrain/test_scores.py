"""Scores of a classifier against scikit-learn and by hand."""

import numpy as np
from sklearn import metrics

from egnas_jax.retrain.scores import calibration, confusion, log_probabilities, score

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 7)).astype(np.float32)
LABELS = RNG.integers(0, 7, 200).astype(np.int32)


def test_scores_equal_those_of_scikit_learn():
    scores = score(LOGITS, LABELS)
    probabilities = np.exp(LOGITS.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    classes = np.arange(7)
    np.testing.assert_allclose(
        scores.loss, metrics.log_loss(LABELS, probabilities, labels=classes), rtol=1e-6
    )
    answers = LOGITS.argmax(axis=1)
    assert scores.errors == 200 - (answers == LABELS).sum()
    top5 = metrics.top_k_accuracy_score(
        LABELS, LOGITS, k=5, labels=classes, normalize=False
    )
    assert scores.top5 == top5
    np.testing.assert_array_equal(
        confusion(LOGITS, LABELS), metrics.confusion_matrix(LABELS, answers)
    )


def test_among_equal_logits_the_first_class_is_the_answer():
    scores = score(np.zeros((2, 7), np.float32), np.array([0, 5]))
    assert (scores.errors, scores.top5) == (1, 1)


def test_logits_that_are_not_finite_count_as_errors():
    logits = np.full((1, 7), np.nan, np.float32)
    scores = score(logits, np.array([0]))
    assert (scores.errors, scores.top5) == (1, 0) and np.isnan(scores.loss)


def test_calibration_by_hand():
    # confidences .9, .9 (one right) and .6 (right), two classes
    odds = np.log(np.array([9, 9, 1.5]))
    logits = np.stack([odds, np.zeros(3)], axis=1)
    bins = calibration(logits, np.array([0, 1, 0]))
    # (2 |.5 - .9| + |1 - .6|) / 3
    np.testing.assert_allclose(bins.error, 0.4)
    assert bins.count[13] == 2 and bins.count[8:10].sum() == 1
    np.testing.assert_allclose(bins.accuracy[13], 0.5)
    np.testing.assert_allclose(bins.confidence[13], 0.9)


def test_calibration_equals_its_definition():
    bins = calibration(LOGITS, LABELS)
    probabilities = np.exp(log_probabilities(LOGITS))
    confidence, right = probabilities.max(1), LOGITS.argmax(1) == LABELS
    error = 0.0
    for low in np.arange(15) / 15:
        rows = (confidence > low) & (confidence <= low + 1 / 15)
        if rows.any():
            gap = abs(right[rows].mean() - confidence[rows].mean())
            error += rows.sum() / 200 * gap
    np.testing.assert_allclose(bins.error, error, rtol=1e-9)
    certain = calibration(np.array([[1000.0, 0.0]]), np.array([1]))
    assert certain.count[14] == 1 and certain.error == 1.0


def test_with_five_classes_or_fewer_every_image_is_in_the_top_5():
    scores = score(LOGITS[:, :3], LABELS % 3)
    assert scores.top5 == 200 and scores.errors > 0


def test_small_types_of_labels_count_as_all_others():
    labels = np.array([30, 39, 0], np.uint8)
    logits = np.eye(40)[[30, 38, 0]]
    counts = confusion(logits, labels)
    assert counts.shape == (40, 40)
    assert [counts[30, 30], counts[39, 38], counts[0, 0], counts.sum()] == [1, 1, 1, 3]
