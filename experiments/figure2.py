"""Repeats Figure 2 of the report: the fitness with L1 alone, L2 alone, and both.

Claim of the report: both together end highest (84.1 % against 83.5 and 83.3 %). Its
curves part at epoch 15, before alpha has moved for the first time. Here all settings
share that part, and a paired test shows which differences in the rest are significant.

Command: python experiments/figure2.py --size small --out OUT
"""

import argparse

import forks
import record_tables
from methods import Outcome

from egnas_jax.studies.report.curves import EPOCHS
from egnas_jax.studies.report.page import Figure

TITLE = "Figure 2 of the report"
BOTH = "L1 and L2"
SETTINGS = {
    "L1 only": {"strategy.zeta": 1.0, "strategy.eta": 0.0},
    "L2 only": {"strategy.zeta": 0.0, "strategy.eta": 0.4},
    BOTH: {"strategy.zeta": 1.0, "strategy.eta": 0.4},
}
# read off the printed figure, +-0.15: validation accuracy (%) after so many epochs
REPORTED = {
    "L1 only": {15: 63.6, 20: 71.3, 30: 77.9, 40: 82.0, 50: 83.5},
    "L2 only": {15: 66.8, 20: 72.1, 30: 77.7, 40: 81.5, 50: 83.3},
    BOTH: {15: 67.2, 20: 73.3, 30: 79.5, 40: 82.6, 50: 84.1},
}
PANELS = {
    "ours": (EPOCHS, "here: validation accuracy (%)"),
    "report": (EPOCHS, "report: validation accuracy (%)"),
    "difference": (EPOCHS, "here: minus L1 and L2 (points)"),
}


def folder_of(name: str) -> str:
    """Name of a setting without what a path should not hold."""
    return name.replace(" ", "_")


def curves(outcomes: list[Outcome], name: str) -> dict[str, list]:
    """(epochs trained, accuracy in percent) of every seed of a setting."""
    return {
        f"seed {outcome.seed}": [
            (record["epoch"] + 1, 100 * record["valid_accuracy"])
            for record in outcome.epochs
        ]
        for outcome in outcomes
        if outcome.method == folder_of(name)
    }


def difference(curves: dict[str, list], others: dict[str, list]) -> dict[str, list]:
    """The curves minus those of another setting, seed by seed."""
    return {
        seed: [
            (x, y - z)
            for (x, y), (_, z) in zip(curves[seed], others[seed], strict=True)
        ]
        for seed in curves
    }


def plot(outcomes: list[Outcome]) -> Figure:
    """Curves of all settings, the report's, and differences from both terms."""
    series = {}
    for name in SETTINGS:
        series["ours", name] = curves(outcomes, name)
        series["report", name] = {"report": list(REPORTED[name].items())}
    for name in SETTINGS:
        ours = series["ours", name]
        series["difference", name] = difference(ours, series["ours", BOTH])
    text = "Accuracy of the supernet; difference from both terms, seed by seed."
    return forks.plot(TITLE, text, PANELS, series)


def make_rows(outcomes: list[Outcome]) -> list[list]:
    """Rows of the record, one for each setting."""
    both = forks.values_of(outcomes, folder_of(BOTH), forks.accuracy)
    rows = []
    for name in SETTINGS:
        values = forks.values_of(outcomes, folder_of(name), forks.accuracy)
        p = None if name == BOTH else record_tables.p_value(values, both)
        rows.append([name, record_tables.cell(values, 100), p, REPORTED[name][50]])
    return rows


def make_table(options: argparse.Namespace, outcomes: list[Outcome]) -> dict:
    """The record without its command."""
    agreement = forks.describe_agreement(forks.agreement(outcomes))
    return {
        "title": TITLE,
        "rows": make_rows(outcomes),
        "columns": [
            "fitness",
            "valid. accuracy (%)",
            "p against both",
            record_tables.column("report (%)", 1),
        ],
        "claim": "Does the fitness need both of its terms?",
        "seconds": forks.total_seconds(outcomes),
        "note": f"{forks.describe_images(options)} Variant {options.variant}; all "
        f"three of a seed fork from one warm start. p of a paired t test over seeds "
        f"(none where all end alike).{agreement}",
    }


def main(arguments: list[str] | None = None) -> None:
    """Runs all settings and writes their record."""
    options = forks.parse_similarity(forks.make_parser(__doc__), arguments)
    settings = {folder_of(name): changes for name, changes in SETTINGS.items()}
    outcomes = forks.run(settings, options)
    details = forks.agreement_details(forks.agreement(outcomes))
    table = make_table(options, outcomes)
    forks.write(options, "figure2", table, details, figure=plot(outcomes))


if __name__ == "__main__":
    main()
