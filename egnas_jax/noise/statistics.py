"""What a matrix of candidates x batches says of the ranks that one batch gives.

Plain numpy and scipy. Every candidate is priced on every batch, so the values follow
the two-way layout without replication: candidate + batch + what is left. What a batch
adds to all candidates alike moves no rank; what is left does.

Source: variance components by the method of moments, and the intraclass correlation
ICC(C, 1), as McGraw & Wong (Psychological Methods 1996); the number of batches by the
formula of Spearman and Brown.

Dims: P candidates, M batches.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats


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

    def reliability(self, batches: int) -> float | None:
        """Repeatability of the mean of so many batches, 0 to 1 (ICC(C, batches))."""
        spread = self.candidate + self.rest / batches
        return self.candidate / spread if spread > 0 else None

    def batches_for(self, reliability: float) -> int | None:
        """Fewest batches whose mean is so repeatable; None where none suffice."""
        if self.candidate <= 0:
            return None
        odds = reliability / (1.0 - reliability)
        # a quotient that is whole must not become the next number by rounding
        return max(1, math.ceil(odds * self.rest / self.candidate - 1e-9))


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


def between_halves(
    values: np.ndarray, batches: int, repeats: int, seed: int
) -> list[float]:
    """Kendall's tau of the means of two disjoint sets of batches, drawn repeatedly.

    Args:
      values: [P, M].
      batches: in each set; at most M / 2.
      repeats: how often two sets are drawn.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    taus = []
    for _ in range(repeats):
        chosen = rng.permutation(values.shape[1])[: 2 * batches]
        one, other = chosen[:batches], chosen[batches:]
        taus.append(kendall(values[:, one].mean(1), values[:, other].mean(1)))
    return [tau for tau in taus if tau is not None]


class Winners(NamedTuple):
    """What becomes of the candidate that one batch ranks first.

    Attributes:
      agreement: share of the pairs of batches that rank the same candidate first.
      rank: of a batch's winner over all other batches, the mean; 1 is best, chance is
        (P + 1) / 2.
    """

    agreement: float
    rank: float


def winners(values: np.ndarray) -> Winners:
    """Of a matrix [P, M] whose least values win."""
    first = np.argmin(values, axis=0)
    same = first[:, None] == first[None]
    agreement = same[np.triu_indices(len(first), 1)].mean()
    ranks = []
    for batch, winner in enumerate(first):
        others = np.delete(values, batch, axis=1).mean(axis=1)
        ranks.append(1 + np.sum(others < others[winner]))
    return Winners(float(agreement), float(np.mean(ranks)))


def describe(
    values: np.ndarray, *, reliability: float, repeats: int = 200, seed: int = 0
) -> dict:
    """All of it as a record of JSON.

    Args:
      values: [P, M], finite; least is best.
      reliability: the repeatability for which batches are counted, in (0, 1).
      repeats, seed: of `between_halves`.
    """
    found, best = components(values), winners(values)
    sizes = [1]
    while 4 * sizes[-1] <= values.shape[1]:
        sizes.append(2 * sizes[-1])
    halves = {
        batches: between_halves(values, batches, repeats, seed) for batches in sizes
    }
    return {
        "kendall": _spread(between_batches(values)),
        "kendall_of_means": [
            {"batches": batches, **_spread(taus),
             "reliability": found.reliability(batches)}
            for batches, taus in halves.items()
        ],
        "variance": found._asdict(),
        "variance_share": found.shares,
        "reliability": found.reliability(1),
        "batches_for": {
            "reliability": reliability, "batches": found.batches_for(reliability)
        },
        "same_winner": best.agreement,
        "rank_of_winner": best.rank,
    }  # fmt: skip


def _spread(taus: list[float]) -> dict[str, float | int | None]:
    """Mean, quartiles and number."""
    if not taus:
        return {"mean": None, "lower": None, "upper": None, "n": 0}
    lower, upper = np.quantile(taus, [0.25, 0.75])
    return {"mean": float(np.mean(taus)), "lower": float(lower),
            "upper": float(upper), "n": len(taus)}  # fmt: skip
