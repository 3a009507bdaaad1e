"""Measures how well the values and ranks that one batch gives repeat on other batches.

Every candidate is evaluated on every batch, so the values follow the two-way layout
without replication: candidate + batch + residual. The effect of a batch is the same for
all candidates and changes no rank; the residual does.

Several batches give a candidate one value through a `Pool`: the mean of its values on
them, or one fitness over all their images, in which the sign is applied once.

Source: variance components by the method of moments, and the intraclass correlation
ICC(C, 1) of one batch's values (McGraw & Wong, Psychological Methods 1996). The
repeatability of ranks is Spearman's rho of two sets; for means of more batches than
were evaluated it is extrapolated by the Spearman-Brown formula.

Dims: P candidates, M batches, S sets of k batches each.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from egnas_jax.studies.statistics import kendall

# indices of batches [S, k] -> value of each candidate over each set, f64[S, P]
Pool = Callable[[np.ndarray], np.ndarray]


def mean_pool(values: np.ndarray) -> Pool:
    """A pool whose value is the mean over the set's batches; values [P, M]."""
    return lambda sets: values[:, sets].mean(axis=-1).T


class VarianceComponents(NamedTuple):
    """Components of the variance of one value.

    Attributes:
      candidate: variance between candidates.
      batch: variance between batches.
      rest: residual variance.
    """

    candidate: float
    batch: float
    rest: float

    @property
    def shares(self) -> dict[str, float | None]:
        """Each component as a fraction of their sum; None where nothing varies."""
        total = sum(self)
        return {
            name: value / total if total > 0 else None
            for name, value in self._asdict().items()
        }

    @property
    def reliability(self) -> float | None:
        """ICC(C, 1), 0 to 1: the repeatability of one batch's values."""
        consistent = self.candidate + self.rest
        return self.candidate / consistent if consistent > 0 else None


def variance_components(values: np.ndarray) -> VarianceComponents:
    """Variance components of a matrix [P, M]; negative estimates become zero.

    Raises:
      ValueError: there are fewer than two candidates or batches.
    """
    size, batches = values.shape
    if min(size, batches) < 2:
        raise ValueError(
            f"{size} candidates on {batches} batches were given; a variance needs at "
            f"least two of each."
        )
    grand = values.mean()
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    residuals = values - rows[:, None] - columns[None] + grand
    residual = np.sum(residuals**2) / ((size - 1) * (batches - 1))
    between_rows = batches * np.sum((rows - grand) ** 2) / (size - 1)
    between_columns = size * np.sum((columns - grand) ** 2) / (batches - 1)
    return VarianceComponents(
        float(max(between_rows - residual, 0.0) / batches),
        float(max(between_columns - residual, 0.0) / size),
        float(residual),
    )


def taus_of_batches(values: np.ndarray) -> list[float]:
    """Kendall's tau of every two batches of a matrix [P, M], where it is defined."""
    pairs = np.stack(np.triu_indices(values.shape[1], 1), axis=1)
    taus = [kendall(values[:, i], values[:, j]) for i, j in pairs]
    return [tau for tau in taus if tau is not None]


class Agreement(NamedTuple):
    """Agreement of the ranks by two disjoint sets of batches, over many such pairs.

    Attributes:
      kendall: tau of every pair of sets for which it is defined.
      spearman: rho over all pairs, 0 to 1: the repeatability of ranks; None where all
        ranks tie. (The repeatability of values would depend mostly on the few
        candidates whose fitness changes its sign.)
    """

    kendall: list[float]
    spearman: float | None


def agreement_of_sets(
    pool: Pool, total: int, batches: int, repeats: int, seed: int
) -> Agreement:
    """Agreement of ranks by two random disjoint sets of batches.

    Args:
      pool: value of a set.
      total: number of all batches M.
      batches: batches in each set, at most M / 2.
      repeats: number of pairs of sets.
      seed: seed of the draws.
    """
    rng = np.random.default_rng(seed)
    sets = [rng.permutation(total)[: 2 * batches] for _ in range(repeats)]
    sets = np.stack(sets).reshape(repeats, 2, batches)
    first, second = pool(sets[:, 0]), pool(sets[:, 1])
    taus = [kendall(a, b) for a, b in zip(first, second, strict=True)]
    mean_rank = (first.shape[1] + 1) / 2
    a, b = (stats.rankdata(part, axis=1) - mean_rank for part in (first, second))
    variance = np.mean(a**2 + b**2) / 2
    rho = float(np.clip(np.mean(a * b) / variance, 0, 1)) if variance > 0 else None
    return Agreement([tau for tau in taus if tau is not None], rho)


def batches_needed(
    measured: list[tuple[int, float | None]], goal: float, *, means: bool
) -> int | None:
    """The fewest batches that reach a repeatability; None where that is unknown.

    With r the repeatability, the odds r / (1 - r) are interpolated as a power of the
    number of batches. Beyond the largest measured number, the odds of means grow in
    proportion to it (Spearman-Brown). For a pool that is no mean, as a fitness with a
    sign, no such law is known.

    Args:
      measured: (number of batches, repeatability), in ascending order.
      goal: repeatability to reach, in (0, 1).
      means: whether the pool is the mean over batches.
    """
    goal_odds = goal / (1.0 - goal)
    points = [(batches, _odds(r or 0.0)) for batches, r in measured]
    above = next((i for i, (_, odds) in enumerate(points) if odds >= goal_odds), None)
    if above is None:
        (batches, odds), power = points[-1], 1.0
        if not means or odds == 0:
            return None
    elif above == 0 or points[above - 1][1] == 0:
        return points[above][0]
    else:
        (batches, odds), (next_batches, next_odds) = points[above - 1 : above + 1]
        power = math.log(next_odds / odds) / math.log(next_batches / batches)
    # Without the margin, rounding could raise an integral result to the next integer.
    needed = math.ceil(batches * (goal_odds / odds) ** (1.0 / power) - 1e-6)
    return max(batches + 1, needed)


def _odds(repeatability: float) -> float:
    return math.inf if repeatability == 1 else repeatability / (1.0 - repeatability)


class Winners(NamedTuple):
    """How the candidate that one batch ranks first does on other batches.

    Attributes:
      agreement: fraction of pairs of batches with the same winner.
      rank: mean rank of a batch's winner by all other batches; 1 is best, chance gives
        (P + 1) / 2.
    """

    agreement: float
    rank: float


def winners(values: np.ndarray, pool: Pool) -> Winners:
    """Winners of each batch, ranked by the pool of the other batches.

    Args:
      values: [P, M], lower is better.
      pool: value of several batches.
    """
    first = np.argmin(values, axis=0)
    same = first[:, None] == first[None]
    agreement = same[np.triu_indices(len(first), 1)].mean()
    batches = np.arange(len(first))
    others = pool(np.stack([np.delete(batches, batch) for batch in batches]))
    ranks = 1 + np.sum(others < others[batches, first][:, None], axis=1)
    return Winners(float(agreement), float(ranks.mean()))


def describe(
    values: np.ndarray,
    pool: Pool | None = None,
    *,
    reliability: float,
    repeats: int = 200,
    seed: int = 0,
) -> dict:
    """All measures of a matrix, as noise.json has them.

    Args:
      values: [P, M], finite; lower is better.
      pool: value of several batches; None for the mean of their values.
      reliability: repeatability of ranks for `batches_needed`, in (0, 1).
      repeats, seed: number and seed of the pairs of sets.
    """
    means, pool = pool is None, pool or mean_pool(values)
    components, best = variance_components(values), winners(values, pool)
    sizes = [1]
    while 4 * sizes[-1] <= values.shape[1]:
        sizes.append(2 * sizes[-1])
    agreements = {
        batches: agreement_of_sets(pool, values.shape[1], batches, repeats, seed)
        for batches in sizes
    }
    measured = [(batches, each.spearman) for batches, each in agreements.items()]
    return {
        "kendall": _quartiles(taus_of_batches(values)),
        "by_batches": [
            {"batches": batches, **_quartiles(each.kendall), "spearman": each.spearman}
            for batches, each in agreements.items()
        ],
        "variance": components._asdict(),
        "variance_share": components.shares,
        "reliability": components.reliability,
        "batches_for": {
            "reliability": reliability,
            "batches": batches_needed(measured, reliability, means=means),
            "measured_up_to": sizes[-1],
        },
        "same_winner": best.agreement,
        "rank_of_winner": best.rank,
    }


def _quartiles(taus: list[float]) -> dict[str, float | int | None]:
    """Mean, quartiles and number of values."""
    if not taus:
        return {"mean": None, "lower": None, "upper": None, "n": 0}
    lower, upper = map(float, np.quantile(taus, [0.25, 0.75]))
    mean = float(np.mean(taus))
    return {"mean": mean, "lower": lower, "upper": upper, "n": len(taus)}
