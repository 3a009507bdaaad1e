"""What a matrix of candidates x batches says of the ranks that one batch gives.

Plain numpy and scipy. Every candidate is evaluated on every batch, so the values follow
the two-way layout without replication: candidate + batch + what is left. What a batch
adds to all candidates alike moves no rank; what is left does.

What several batches say together is asked of a `Pool`: the mean of their values, or one
fitness over all their images, whose sign is applied once.

Source: variance components by the method of moments, and the intraclass correlation
ICC(C, 1), as McGraw & Wong (Psychological Methods 1996), of one batch's values; the
repeatability of ranks by Spearman's rho of two sets, that of means beyond the batches
that were evaluated by the formula of Spearman and Brown.

Dims: P candidates, M batches, S sets of k batches each.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

# sets of batches, whole numbers [S, k] -> value of each candidate over each, f64[S, P]
Pool = Callable[[np.ndarray], np.ndarray]


def mean_of(values: np.ndarray) -> Pool:
    """Several batches are judged by the mean of their values, of a matrix [P, M]."""
    return lambda sets: values[:, sets].mean(axis=-1).T


class Components(NamedTuple):
    """Variances of one value: between candidates, between batches, and of the rest."""

    candidate: float
    batch: float
    rest: float

    @property
    def shares(self) -> dict[str, float | None]:
        """Each as a fraction of the three; None where nothing varies."""
        total = sum(self)
        return {
            name: value / total if total > 0 else None
            for name, value in self._asdict().items()
        }

    @property
    def reliability(self) -> float | None:
        """Repeatability of one batch's values, 0 to 1 (ICC(C, 1))."""
        spread = self.candidate + self.rest
        return self.candidate / spread if spread > 0 else None


def components(values: np.ndarray) -> Components:
    """Variance components of a matrix [P, M]; a negative estimate counts as zero.

    Raises:
      ValueError: fewer than two candidates or batches.
    """
    size, batches = values.shape
    if min(size, batches) < 2:
        raise ValueError(
            f"{size} candidates on {batches} batches were given; a variance takes at "
            f"least two of each."
        )
    grand = values.mean()
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - columns[None] + grand
    of_rest = np.sum(rest**2) / ((size - 1) * (batches - 1))
    of_rows = batches * np.sum((rows - grand) ** 2) / (size - 1)
    of_columns = size * np.sum((columns - grand) ** 2) / (batches - 1)
    return Components(
        float(max(of_rows - of_rest, 0.0) / batches),
        float(max(of_columns - of_rest, 0.0) / size),
        float(of_rest),
    )


def kendall(a: np.ndarray, b: np.ndarray) -> float | None:
    """Tau-b of two rankings of the same P; None where one of them is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.kendalltau(a, b).statistic)


def between_batches(values: np.ndarray) -> list[float]:
    """Kendall's tau of every two batches of a matrix [P, M]."""
    pairs = np.stack(np.triu_indices(values.shape[1], 1), axis=1)
    taus = [kendall(values[:, i], values[:, j]) for i, j in pairs]
    return [tau for tau in taus if tau is not None]


class Repeated(NamedTuple):
    """How far two disjoint sets of batches say the same, over many such pairs.

    Attributes:
      kendall: tau of each pair that ranks anything.
      spearman: rho over all pairs, 0 to 1: the repeatability of ranks. (Of values it
        would be that of the few that the fitness's sign moves far.) None where nothing
        is ranked.
    """

    kendall: list[float]
    spearman: float | None


def repeated(pool: Pool, total: int, batches: int, repeats: int, seed: int) -> Repeated:
    """Of sets drawn at random.

    Args:
      pool: what a set says.
      total: batches M that there are.
      batches: in each set; at most M / 2.
      repeats: how often two sets are drawn.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = np.stack(
        [rng.permutation(total)[: 2 * batches] for _ in range(repeats)]
    ).reshape(repeats, 2, batches)
    one, other = pool(drawn[:, 0]), pool(drawn[:, 1])
    taus = [kendall(a, b) for a, b in zip(one, other, strict=True)]
    middle = (one.shape[1] + 1) / 2  # the mean of ranks, which start at 1
    a, b = (stats.rankdata(part, axis=1) - middle for part in (one, other))
    spread = np.mean(a**2 + b**2) / 2
    agreed = float(np.clip(np.mean(a * b) / spread, 0, 1)) if spread > 0 else None
    return Repeated([tau for tau in taus if tau is not None], agreed)


def batches_for(
    measured: list[tuple[int, float | None]], wanted: float, *, means: bool
) -> int | None:
    """Fewest batches that are so repeatable; None where it takes more than were
    measured, and how many more is not known.

    Between two that were measured, odds grow as a power of their number. Beyond the
    last, those of means grow in proportion to it (Spearman and Brown); for what is no
    mean, as a fitness with a sign, nothing is known there.

    Args:
      measured: numbers of batches, growing, and the repeatability of each.
      wanted: repeatability, in (0, 1).
      means: whether several batches are judged by the mean of their values.
    """
    goal = wanted / (1.0 - wanted)
    points = [
        (k, math.inf if r == 1 else (r or 0.0) / (1.0 - (r or 0.0)))
        for k, r in measured
    ]
    reached = next((i for i, (_, odds) in enumerate(points) if odds >= goal), None)
    if reached is None:
        (k, odds), power = points[-1], 1.0
        if not means or odds == 0:
            return None
    elif reached == 0 or points[reached - 1][1] == 0:
        return points[reached][0]
    else:
        (k, odds), (k_next, odds_next) = points[reached - 1 : reached + 1]
        power = math.log(odds_next / odds) / math.log(k_next / k)
    # a quotient that is whole must not become the next number by rounding
    return max(k + 1, math.ceil(k * (goal / odds) ** (1.0 / power) - 1e-6))


class Winners(NamedTuple):
    """What becomes of the candidate that one batch ranks first.

    Attributes:
      agreement: share of the pairs of batches that rank the same candidate first.
      rank: of a batch's winner over all other batches, the mean; 1 is best, chance is
        (P + 1) / 2.
    """

    agreement: float
    rank: float


def winners(values: np.ndarray, pool: Pool) -> Winners:
    """Of a matrix [P, M] whose least values win; the other batches judge as a pool."""
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
    """All of it as a record of JSON.

    Args:
      values: [P, M], finite; least is best.
      pool: what several batches say; None: the mean of their values.
      reliability: repeatability of ranks for which batches are counted, in (0, 1).
      repeats, seed: of `repeated`.
    """
    means, pool = pool is None, pool or mean_of(values)
    found, best = components(values), winners(values, pool)
    sizes = [1]
    while 4 * sizes[-1] <= values.shape[1]:
        sizes.append(2 * sizes[-1])
    several = {
        batches: repeated(pool, values.shape[1], batches, repeats, seed)
        for batches in sizes
    }
    measured = [(batches, one.spearman) for batches, one in several.items()]
    return {
        "kendall": _spread(between_batches(values)),
        "by_batches": [
            {"batches": batches, **_spread(one.kendall), "spearman": one.spearman}
            for batches, one in several.items()
        ],
        "variance": found._asdict(),
        "variance_share": found.shares,
        "reliability": found.reliability,
        "batches_for": {
            "reliability": reliability,
            "batches": batches_for(measured, reliability, means=means),
            "measured_up_to": sizes[-1],
        },
        "same_winner": best.agreement,
        "rank_of_winner": best.rank,
    }


def _spread(taus: list[float]) -> dict[str, float | int | None]:
    """Mean, quartiles and number."""
    if not taus:
        return {"mean": None, "lower": None, "upper": None, "n": 0}
    lower, upper = np.quantile(taus, [0.25, 0.75])
    return {
        "mean": float(np.mean(taus)),
        "lower": float(lower),
        "upper": float(upper),
        "n": len(taus),
    }
