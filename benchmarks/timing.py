"""Paired, alternating measurements: what one machine says about two programs.

Both run in turn, first one and then the other first, so that what else the machine
does hits both alike; the figure is the ratio of a pair, its median over the pairs, and
the smallest and largest beside it.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple


class Comparison(NamedTuple):
    """Seconds of both sides in every pair."""

    theirs: list[float]
    ours: list[float]

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.theirs, self.ours, strict=True)]

    def summary(self) -> dict:
        """Median and range of the ratio; medians of the seconds."""
        ratios = self.ratios
        return {
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "torch_s": statistics.median(self.theirs),
            "ours_s": statistics.median(self.ours),
            "pairs": len(ratios),
        }


def alternate(
    theirs: Callable[[], dict], ours: Callable[[], dict], pairs: int
) -> Comparison:
    """Seconds of both, in pairs; the one that goes first changes from pair to pair.

    Args:
      theirs, ours: run once and return their "seconds".
      pairs: how many.
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
    """What is under way, to stderr with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
