"""Compares the speed of two programs by alternating pairs of runs.

The program that runs first changes from pair to pair, so that other load of the
machine affects both alike. The result is the ratio of the seconds of a pair: the median
over the pairs, with the smallest and the largest.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


def summary_of(ratios: Sequence[float]) -> dict[str, float]:
    """Median and range of ratios, as the entries "ratio", "ratio_min", "ratio_max"."""
    return {
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def ratio_text(row: Mapping[str, float]) -> str:
    """The entries of `summary_of` as text: "2.40 (2.31 to 2.52)"."""
    return f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"


class Comparison(NamedTuple):
    """Seconds of both programs in every pair."""

    theirs: list[float]
    ours: list[float]

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.theirs, self.ours, strict=True)]

    def summary(self) -> dict:
        """Median and range of the ratio; medians of the seconds."""
        return {
            **summary_of(self.ratios),
            "torch_s": statistics.median(self.theirs),
            "ours_s": statistics.median(self.ours),
            "pairs": len(self.ratios),
        }


def alternate(
    theirs: Callable[[], dict], ours: Callable[[], dict], pairs: int
) -> Comparison:
    """Runs both programs in pairs; the one that runs first alternates.

    Args:
      theirs, ours: run once and return a dictionary with "seconds".
      pairs: number of pairs.
    """
    result = Comparison([], [])
    for pair in range(pairs):
        sides = [(theirs, result.theirs), (ours, result.ours)]
        for run, seconds in sides if pair % 2 == 0 else reversed(sides):
            seconds.append(run()["seconds"])
        say(
            f"pair {pair}: torch {result.theirs[-1]:.2f} s, "
            f"ours {result.ours[-1]:.2f} s"
        )
    return result


def say(text: str) -> None:
    """Prints a line of progress with the time to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
