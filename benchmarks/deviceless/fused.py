"""Predicts how fast a population would be with one fused kernel for a mixed cell.

python -m benchmarks.deviceless.fused [--card h100] [--today FILE...]

fused_cost.py says how the kernel would work, and counts; here are the seconds.
"""

import argparse
import pathlib
import sys
from typing import NamedTuple

from benchmarks import parity, rows
from benchmarks.deviceless.cards import CARDS, KIB, Card, card_named
from benchmarks.deviceless.fused_cost import (
    block_bytes,
    cells_with_sides,
    network_cost,
    rest_bytes,
)
from benchmarks.deviceless.results import load_programs
from benchmarks.deviceless.roofline import Rates, rates_of

FITS = {
    True: "fits",
    False: "does not fit: its nodes would go through memory, so it takes longer",
}


class FusedPrediction(NamedTuple):
    """Predicted seconds of a population.

    Attributes:
      memory, shared, arithmetic: what each limit alone would allow the fused cells.
      rest: least seconds of stem, preprocessing and classifier, bound by memory.
    """

    memory: float
    shared: float
    arithmetic: float
    rest: float

    @property
    def seconds(self) -> float:
        """Of the whole network, if the cells run at their slowest limit."""
        return max(self.memory, self.shared, self.arithmetic) + self.rest


def predict(case: parity.Case, rates: Rates, batch_stats: str) -> FusedPrediction:
    """Predicts the seconds of a population.

    Args:
      case: size of the problem; the dtype of its configuration is that of the arrays
        between cells.
      rates: of the card. A multiply-add is one operation of a lane here.
      batch_stats: "running" or "batch".
    """
    images = case.individuals * case.images
    cost = network_cost(case.config, case.side, batch_stats)
    operations = cost.multiply_adds + cost.operations
    return FusedPrediction(
        memory=images * cost.bytes / rates.bytes_per_s,
        shared=images * cost.shared_bytes / rates.l1_bytes_per_s,
        arithmetic=images * operations / rates.operations_per_s,
        rest=images * rest_bytes(case.config, case.side) / rates.bytes_per_s,
    )


def report(card: Card, today: dict[str, float]) -> str:
    """Writes the predictions for the full-size population.

    Args:
      card: the GPU.
      today: predicted milliseconds of today's programs, by name and precision.
    """
    rates, lines = rates_of(card), []
    for precision in ("float32", "bfloat16"):
        case = rows.in_precision(parity.CASES["full"], precision)
        cells = cells_with_sides(case.config, case.side)
        largest = max(block_bytes(case.config, *cell) for cell in cells)
        fits = largest <= card.shared_bytes - KIB
        lines.append(
            f"{precision}: a block takes {largest / KIB:.0f} KiB of shared memory at "
            f"most, which {FITS[fits]}"
        )
        for batch_stats in ("running", "batch"):
            lines.append(_line(case, rates, batch_stats))
            name = f"population-{batch_stats} {precision}"
            if name in today:
                fused = 1e3 * predict(case, rates, batch_stats).seconds
                lines.append(
                    f"    today's programs: {today[name]:.0f} ms; predicted gain "
                    f"{'' if fits else 'below '}{today[name] / fused:.1f}"
                )
    return "\n".join(lines)


def _line(case, rates, batch_stats):
    images = case.individuals * case.images
    cost = network_cost(case.config, case.side, batch_stats)
    predicted = predict(case, rates, batch_stats)
    moved = images * (cost.bytes + rest_bytes(case.config, case.side))
    return (
        f"  {batch_stats} statistics: {1e3 * predicted.seconds:.1f} ms predicted: "
        f"{1e3 * predicted.arithmetic:.1f} of arithmetic "
        f"({cost.multiply_adds / 1e6:.1f} M multiply-adds and "
        f"{cost.operations / 1e6:.1f} M other operations an image), "
        f"{1e3 * predicted.shared:.1f} of shared memory, "
        f"{1e3 * predicted.memory:.1f} of memory, and {1e3 * predicted.rest:.1f} for "
        f"the rest; {moved / 1e9:.1f} GB"
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deviceless.fused",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--card", choices=CARDS, default="h100")
    parser.add_argument(
        "--today",
        type=pathlib.Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files of `python -m benchmarks.deviceless --json`, to compare with",
    )
    options, today = parser.parse_args(arguments), {}
    for file in options.today:
        try:
            programs = load_programs(file, options.card, "full")
        except ValueError as error:
            parser.error(f"--today: {error}")
        today |= {name: row["ms"] for name, row in programs.items()}
    print(report(card_named(options.card), today))
    return 0


if __name__ == "__main__":
    sys.exit(main())
