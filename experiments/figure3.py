"""Repeats Figure 3 of the report: accuracy and time by the size of the population.

Claim of the report: 50 individuals are a good size; from 30 to 50 accuracy rises most
(83.60 to 84.08 %) at little more time (0.075 to 0.081 GPU-days).

Command: python experiments/figure3.py --size small --out OUT
"""

import argparse
from collections.abc import Sequence

import forks
import record_tables
from methods import Outcome

TITLE = "Figure 3 of the report"
TEXT = "Left, accuracy of the supernet; right, time. Above here, below the report."
POPULATIONS = (15, 30, 50, 70, 100)
# read off the printed figure: validation accuracy (%) and GPU-days
REPORTED = {
    15: (83.32, 0.072),
    30: (83.60, 0.075),
    50: (84.08, 0.081),
    70: (84.20, 0.086),
    100: (84.31, 0.094),
}
PANELS = {
    "accuracy": ("population", "here: validation accuracy (%)"),
    "seconds": ("population", "here: seconds an epoch"),
    "report": ("population", "report: validation accuracy (%)"),
    "days": ("population", "report: GPU-days of a search"),
}
METRICS = {
    "accuracy": lambda outcome: 100 * forks.accuracy(outcome),
    "seconds": forks.seconds_per_epoch,
}


def make_series(outcomes: list[Outcome], sizes: Sequence[int]) -> dict:
    """(population, value) of every seed and of the report, for each panel."""
    series = {}
    for panel, metric in METRICS.items():
        runs = series[panel, "here"] = {}
        for seed in sorted({outcome.seed for outcome in outcomes}):
            of_seed = [outcome for outcome in outcomes if outcome.seed == seed]
            runs[f"seed {seed}"] = [
                (size, value)
                for size in sizes
                for value in forks.values_of(of_seed, f"population{size}", metric)
            ]
    for index, panel in enumerate(("report", "days")):
        points = [(size, values[index]) for size, values in REPORTED.items()]
        series[panel, "report"] = {"report": points}
    return series


def make_row(outcomes: list[Outcome], size: int) -> list:
    """The row of one population size."""
    name = f"population{size}"
    return [
        size,
        record_tables.cell(forks.values_of(outcomes, name, forks.accuracy), 100),
        record_tables.cell(forks.values_of(outcomes, name, forks.seconds_per_epoch)),
        *REPORTED.get(size, (None, None)),
    ]


def make_table(options: argparse.Namespace, outcomes: list[Outcome]) -> dict:
    """The record without its command."""
    agreement = forks.describe_agreement(forks.agreement(outcomes))
    return {
        "title": TITLE,
        "columns": [
            record_tables.column("population", 0),
            "valid. accuracy (%)",
            "seconds an epoch",
            "report: accuracy (%)",
            record_tables.column("report: GPU-days", 3),
        ],
        "rows": [make_row(outcomes, size) for size in options.populations],
        "claim": "What do accuracy and time gain or lose by larger populations?",
        "seconds": forks.total_seconds(outcomes),
        "note": f"{forks.describe_images(options)} Variant {options.variant}; all "
        f"sizes of a seed fork from one warm start. Seconds of epochs that explore, "
        f"after compilation.{agreement}",
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = forks.make_parser(__doc__)
    parser.add_argument("--populations", type=int, nargs="+", default=POPULATIONS)
    options = parser.parse_args(arguments)
    if len(set(options.populations)) < len(options.populations):
        parser.error("--populations names one twice")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Runs all sizes and writes their record."""
    options = parse(arguments)
    sizes = options.populations
    settings = {f"population{size}": {"strategy.population": size} for size in sizes}
    outcomes = forks.run(settings, options)
    extra = [] if sizes == POPULATIONS else ["--populations", *map(str, sizes)]
    forks.write(
        options,
        "figure3",
        make_table(options, outcomes),
        forks.agreement_details(forks.agreement(outcomes)),
        extra=extra,
        figure=forks.plot(TITLE, TEXT, PANELS, make_series(outcomes, sizes)),
    )


if __name__ == "__main__":
    main()
