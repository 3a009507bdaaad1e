"""Summarises, compares and correlates samples, with intervals and tests.

Source: Student's t interval and paired t test; Wilcoxon's signed-rank test; Holm (1979)
for several comparisons; Kendall's tau-b and Spearman's rho, which allow for ties; the
percentile bootstrap (Efron & Tibshirani, 1993).

Dims: R runs, n cells that are scored twice.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95  # probability with which an interval covers its value
MOST_SIGNS = 12  # up to so many pairs all 2^n sign patterns are enumerated


class Summary(NamedTuple):
    """Summary of a sample.

    Attributes:
      mean: arithmetic mean.
      spread: standard deviation of a sample; None for a single value.
      n: number of values.
      low, high: t interval of the mean; None for a single value.
    """

    mean: float
    spread: float | None
    n: int
    low: float | None
    high: float | None


class Interval(NamedTuple):
    """A mean over runs and the bounds of its confidence interval, [...] each."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Comparison(NamedTuple):
    """Comparison of two groups over the seeds that they share.

    Attributes:
      first, second: labels of the groups.
      n: number of pairs.
      difference: mean of first minus second.
      low, high: t interval of the difference; None for a single pair.
      t_test, wilcoxon: two-sided p values; None where the test is undefined.
      holm: p value of the t test, corrected for all comparisons; None without t test.
    """

    first: str
    second: str
    n: int
    difference: float
    low: float | None
    high: float | None
    t_test: float | None
    wilcoxon: float | None
    holm: float | None = None


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation of a sample; a single value has no deviation."""
    values = [float(value) for value in values]
    spread = statistics.stdev(values) if len(values) > 1 else None
    return statistics.mean(values), spread


def summarise(values: Sequence[float], level: float = LEVEL) -> Summary:
    """Mean, spread and t interval of at least one value."""
    (mean, spread), n = mean_and_spread(values), len(values)
    if spread is None:
        return Summary(mean, None, 1, None, None)
    half = float(_half_width(spread / math.sqrt(n), n, level))
    return Summary(mean, spread, n, mean - half, mean + half)


def mean_interval(samples: np.ndarray) -> Interval:
    """Mean over the first axis and its t interval, of the probability `LEVEL`.

    Args:
      samples: [R, ...], independent runs.

    Returns:
      Bounds are NaN for a single run.
    """
    number = len(samples)
    mean = samples.mean(axis=0, dtype=np.float64)
    if number < 2:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    error = samples.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(number)
    half = _half_width(error, number, LEVEL)
    return Interval(mean, mean - half, mean + half)


def _half_width(standard_error, number: int, level: float):
    """Half the width of Student's t interval of a mean."""
    return stats.t.ppf((1 + level) / 2, number - 1) * standard_error


def compare(groups: Mapping[str, Mapping[int, float]]) -> list[Comparison]:
    """Compares every two groups that share a seed, paired by seed.

    Args:
      groups: label -> seed -> value.
    """
    comparisons = []
    for (first, a), (second, b) in itertools.combinations(groups.items(), 2):
        if differences := _differences(a, b):
            comparisons.append(_compare_differences(first, second, differences))
    return _with_holm(comparisons)


def compare_with(
    control: str, groups: Mapping[str, Mapping[int, float]]
) -> list[Comparison]:
    """Compares every group with one of them, paired by seed, under one correction.

    Args:
      control: label of the group with which the others are compared.
      groups: label -> seed -> value.

    Returns:
      Each other group minus the control, in their order, see `compare_pairs`.
    """
    return compare_pairs(
        [(name, control) for name in groups if name != control], groups
    )


def compare_pairs(
    pairs: Sequence[tuple[str, str]], groups: Mapping[str, Mapping[int, float]]
) -> list[Comparison]:
    """Compares pairs of groups, paired by seed, under one correction for all of them.

    Of m comparisons that have a t test, the one with the k-th least p value gets the t
    interval at level 1 - 0.05 / (m - k + 1). From the first interval that holds zero
    on, all have its level. So an interval excludes zero exactly where Holm's procedure
    rejects, and with probability 0.95 none does so wrongly.

    Args:
      pairs: labels of two groups each; no pair is there twice.
      groups: label -> seed -> value.

    Returns:
      The first group of each pair minus the second, in their order, where the two share
      a seed. `low` and `high` are bounds of the interval above, None without a t test.

    Source: Holm (1979), whose last accepted level bounds the rest.
    """
    comparisons = [
        _compare_differences(first, second, differences)
        for first, second in pairs
        if (differences := _differences(groups[first], groups[second]))
    ]
    levels, alpha = {}, None
    tested = [one for one in comparisons if one.t_test is not None]
    for rank, one in enumerate(sorted(tested, key=lambda one: one.t_test)):
        alpha = alpha or (1 - LEVEL) / (len(tested) - rank)
        levels[one.first, one.second] = 1 - alpha
        alpha = alpha if one.t_test >= alpha else None
    return [
        _at_level(one, groups, levels.get((one.first, one.second)))
        for one in _with_holm(comparisons)
    ]


def _at_level(
    one: Comparison, groups: Mapping[str, Mapping[int, float]], level: float | None
) -> Comparison:
    """A comparison with the interval of a level; without one where there is none."""
    if level is None:
        return one._replace(low=None, high=None)
    differences = _differences(groups[one.first], groups[one.second])
    summary = summarise(differences, level)
    return one._replace(low=summary.low, high=summary.high)


def _differences(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """a - b over the seeds that both have.

    Accuracies are counts over images: rounding errors must not break ties.
    """
    return [round(a[seed] - b[seed], 12) for seed in sorted(set(a) & set(b))]


def _compare_differences(
    first: str, second: str, differences: list[float]
) -> Comparison:
    summary, t_test, wilcoxon = summarise(differences), None, None
    # t is undefined without variance; variance at rounding level counts as none
    if summary.spread and summary.spread > 1e-9 * max(map(abs, differences)):
        t_test = float(stats.ttest_1samp(differences, 0.0).pvalue)
    if len(differences) > 1 and any(differences):
        method = _wilcoxon_method([abs(value) for value in differences])
        wilcoxon = float(stats.wilcoxon(differences, method=method).pvalue)
    return Comparison(
        first=first,
        second=second,
        n=summary.n,
        difference=summary.mean,
        low=summary.low,
        high=summary.high,
        t_test=t_test,
        wilcoxon=wilcoxon,
    )


def _wilcoxon_method(sizes: list[float]):
    """How scipy computes p: its table of exact values knows neither ties nor zeros."""
    if len(set(sizes)) == len(sizes) and all(sizes):
        return "exact"
    if len(sizes) <= MOST_SIGNS:
        return stats.PermutationMethod(n_resamples=2**MOST_SIGNS)
    return "asymptotic"


def _with_holm(comparisons: list[Comparison]) -> list[Comparison]:
    """Adds Holm's step-down correction of the t tests."""
    tested = [one for one in comparisons if one.t_test is not None]
    lower_bound, corrected = 0.0, {}
    for rank, one in enumerate(sorted(tested, key=lambda one: one.t_test)):
        p_value = min(1.0, one.t_test * (len(tested) - rank))
        lower_bound = max(lower_bound, p_value)
        corrected[one.first, one.second] = lower_bound
    return [
        one._replace(holm=corrected.get((one.first, one.second))) for one in comparisons
    ]


def kendall(a: np.ndarray, b: np.ndarray) -> float | None:
    """Kendall's tau-b of two scores of the same things; None where one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.kendalltau(a, b).statistic)


def rank_correlations(
    ours: np.ndarray, theirs: np.ndarray, *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Kendall's tau and Spearman's rho of two scores, with bootstrap intervals.

    Args:
      ours, theirs: [n]; -inf ranks last.
      resamples: number of bootstrap draws of n cells with replacement.
      seed: seed of the draws; both correlations use the same draws.

    Returns:
      "kendall" and "spearman": {"value", "low", "high"}; NaN where a score is constant.
    """
    # ranks keep infinities out of Spearman's means
    ours, theirs = stats.rankdata(ours), stats.rankdata(theirs)
    measures: dict[str, Callable] = {
        "kendall": lambda a, b: stats.kendalltau(a, b).statistic,
        "spearman": _spearman,
    }
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(ours), (resamples, len(ours)))
    correlations = {}
    for name, measure in measures.items():
        resampled = np.asarray([measure(ours[draw], theirs[draw]) for draw in draws])
        resampled = resampled[~np.isnan(resampled)]  # NaN: the draw's scores are equal
        bounds = (1 - LEVEL) / 2, (1 + LEVEL) / 2
        low, high = np.quantile(resampled, bounds) if len(resampled) else (np.nan,) * 2
        value = float(measure(ours, theirs))
        correlations[name] = {"value": value, "low": float(low), "high": float(high)}
    return correlations


def _spearman(a, b):
    """Spearman's rho without the p value, on which scipy spends most of its time."""
    a, b = (stats.rankdata(scores) for scores in (a, b))
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return np.sum(a * b) / scale if scale else np.nan
