"""Mean, spread and paired tests over seeds.

Source: Student's t interval and paired t test; Wilcoxon's signed-rank test (exact for
few pairs, over all signs where differences tie); Holm (1979) for several comparisons.
All by scipy but the last.
"""

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

MOST_SIGNS = 12  # pairs whose 2^n signs are gone through one by one


class Summary(NamedTuple):
    """Of a sample.

    Attributes:
      mean: of its values.
      spread: standard deviation of a sample; None of one value.
      n: number of values.
      low, high: t interval of the mean; None of one value.
    """

    mean: float
    spread: float | None
    n: int
    low: float | None
    high: float | None


class Comparison(NamedTuple):
    """Of two groups over the seeds they share.

    Attributes:
      first, second: labels.
      n: pairs.
      difference: mean of first minus second.
      low, high: 95 % t interval of it; None of one pair.
      t_test, wilcoxon: two-sided p values; None where the test is not defined.
      holm: the t test's p corrected for all comparisons made; None where that is.
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


def summarise(values: list[float], confidence: float = 0.95) -> Summary:
    """Mean, spread and interval of at least one value."""
    from scipy import stats

    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return Summary(mean, None, 1, None, None)
    spread = statistics.stdev(values)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * spread / math.sqrt(n)
    return Summary(mean, spread, n, mean - half, mean + half)


def compare(groups: Mapping[str, Mapping[int, float]]) -> list[Comparison]:
    """Every two groups that share a seed, paired by seed.

    Args:
      groups: label -> seed -> value.
    """
    labels, found = list(groups), []
    for index, first in enumerate(labels):
        for second in labels[index + 1 :]:
            seeds = sorted(set(groups[first]) & set(groups[second]))
            pairs = [(groups[first][seed], groups[second][seed]) for seed in seeds]
            if pairs:
                found.append(_paired(first, second, pairs))
    return _corrected(found)


def _paired(first: str, second: str, pairs: list[tuple[float, float]]) -> Comparison:
    from scipy import stats

    # accuracies are counts over images: rounding must not part what ties
    differences = [round(a - b, 12) for a, b in pairs]
    whole, t_test, wilcoxon = summarise(differences), None, None
    # of equal differences no t is defined; what rounding leaves of them is no spread
    if whole.spread and whole.spread > 1e-9 * max(map(abs, differences)):
        t_test = float(stats.ttest_1samp(differences, 0.0).pvalue)
    if len(pairs) > 1 and any(differences):
        method = _wilcoxon_method([abs(value) for value in differences])
        wilcoxon = float(stats.wilcoxon(differences, method=method).pvalue)
    low, high = whole.low, whole.high
    return Comparison(first, second, whole.n, whole.mean, low, high, t_test, wilcoxon)


def _wilcoxon_method(sizes: list[float]):
    """How scipy is to find p; its table of exact ones knows no ties and no zeros."""
    from scipy import stats

    if len(set(sizes)) == len(sizes) and all(sizes):
        return "exact"
    if len(sizes) <= MOST_SIGNS:
        return stats.PermutationMethod(n_resamples=2**MOST_SIGNS)  # all 2^n, that is
    return "asymptotic"


def _corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """With Holm's step-down correction of the t tests."""
    tested = [one for one in comparisons if one.t_test is not None]
    least, corrected = 0.0, {}
    for rank, one in enumerate(sorted(tested, key=lambda one: one.t_test)):
        least = max(least, min(1.0, one.t_test * (len(tested) - rank)))
        corrected[one.first, one.second] = least
    return [
        one._replace(holm=corrected.get((one.first, one.second))) for one in comparisons
    ]
