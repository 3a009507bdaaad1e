"""Means over runs with their confidence intervals, and regret.

Dims: R runs, Q queries.
"""

from typing import NamedTuple

import numpy as np

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean over runs and the bounds of its confidence interval, each [...]."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_interval(samples: np.ndarray, level: float = LEVEL) -> Interval:
    """Student's interval of the mean over the first axis.

    Args:
      samples: [R, ...], independent runs.
      level: probability with which it covers the mean.

    Returns:
      Bounds are NaN with a single run, which says nothing of the spread.
    """
    from scipy import stats

    number = len(samples)
    mean = samples.mean(axis=0, dtype=np.float64)
    if number < 2:
        nothing = np.full_like(mean, np.nan)
        return Interval(mean, nothing, nothing)
    error = samples.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(number)
    half = stats.t.ppf((1 + level) / 2, number - 1) * error
    return Interval(mean, mean - half, mean + half)


def shown_queries(queries: int, per_decade: int = 40) -> np.ndarray:
    """Numbers of queries at which curves are written: evenly on a log scale, 1 and Q
    among them."""
    points = np.logspace(0, np.log10(queries), 1 + int(per_decade * np.log10(queries)))
    return np.unique(np.append(np.round(points).astype(int), [1, queries]))
