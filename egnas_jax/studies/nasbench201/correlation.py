"""Rank correlation with a bootstrap interval.

Source: percentile bootstrap (Efron & Tibshirani, 1993) over the cells; Kendall's tau-b,
which allows for ties.
"""

from collections.abc import Callable

import numpy as np

LEVEL = 0.95


def rank_correlations(
    ours: np.ndarray, theirs: np.ndarray, *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Kendall's tau and Spearman's rho of two scores of the same cells.

    Args:
      ours, theirs: [n]; -inf ranks last.
      resamples: draws of n cells with replacement behind each interval.
      seed: of the draws; the same cells are drawn for both.

    Returns:
      "kendall" and "spearman": {"value", "low", "high"}; NaN where a score is the same
      for all.
    """
    from scipy import stats

    # ranks keep infinities out of Spearman's means
    ours, theirs = stats.rankdata(ours), stats.rankdata(theirs)
    measures: dict[str, Callable] = {
        "kendall": lambda a, b: stats.kendalltau(a, b).statistic,
        "spearman": _pearson_of_ranks,
    }
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(ours), (resamples, len(ours)))
    found = {}
    for name, measure in measures.items():
        again = np.asarray([measure(ours[draw], theirs[draw]) for draw in draws])
        again = again[~np.isnan(again)]  # without those that drew one score alone
        bounds = (1 - LEVEL) / 2, (1 + LEVEL) / 2
        low, high = np.quantile(again, bounds) if len(again) else (np.nan, np.nan)
        found[name] = {
            "value": float(measure(ours, theirs)),
            "low": float(low),
            "high": float(high),
        }
    return found


def _pearson_of_ranks(a, b):
    """Spearman's rho; without the p-value, which costs most of scipy's time."""
    from scipy import stats

    a, b = (stats.rankdata(x) for x in (a, b))
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return np.sum(a * b) / scale if scale else np.nan
