"""Differences from torch, and which of them are more than rounding."""

import math

import numpy as np
import pytest

from benchmarks import parity, rows


def test_every_precision_has_bounds_and_float32_has_the_tightest():
    assert set(parity.BOUNDS) == set(rows.PRECISIONS)
    for precision, bounds in parity.BOUNDS.items():
        assert bounds >= parity.BOUNDS["float32"], precision
        assert bounds.gradient < 1.0  # of a leaf that gets no gradient


def test_nan_in_the_gradient_of_any_leaf_is_a_difference():
    theirs = {name: np.array([1.0, 0.5]) for name in "abc"}
    for name in theirs:
        ours = theirs | {name: np.array([math.nan, 0.5])}
        assert math.isnan(parity.signature_error(theirs, ours))


@pytest.mark.parametrize(
    "precision, allowed", [("float32", 1), ("default", 8), ("bfloat16", 16)]
)
def test_more_wrong_answers_than_rounding_explains_are_named(precision, allowed):
    """Of 128 images; tau has no bound."""
    error = {"loss": 0.0, "correct": allowed, "tau": -1.0}
    assert parity.violations(error, precision, 128) == []
    more = parity.violations(error | {"correct": allowed + 1}, precision, 128)
    assert more == [f"correct {allowed + 1} (at most {allowed})"]
