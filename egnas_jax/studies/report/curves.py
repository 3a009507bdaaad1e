"""What the figures show, as plain rows: the same that stands in their CSV files."""

import itertools
import math
import statistics
from typing import NamedTuple

from egnas_jax.studies.report.runs import Group, Run


class Row(NamedTuple):
    """One point of a figure.

    Attributes:
      panel: its part of the figure.
      group: label.
      run: name of a run; "mean", or "mean - sd" and "mean + sd", over the runs.
      x, y: where it stands.
    """

    panel: str
    group: str
    run: str
    x: float
    y: float


class Figure(NamedTuple):
    """Panels of lines.

    Attributes:
      name: of its files.
      title: above it.
      text: what it shows, below it.
      panels: panel -> labels of its x and its y axis.
      rows: points; empty where nothing was recorded.
    """

    name: str
    title: str
    text: str
    panels: dict[str, tuple[str, str]]
    rows: list[Row]


EPOCHS = "epochs trained"
BAND = "Thin lines: seeds. Thick: their mean, with one standard deviation around it."


def search_figures(groups: list[Group]) -> list[Figure]:
    """The figures of searches, without those of which nothing was recorded."""
    figures = [
        _by_epoch(
            groups,
            "curves",
            "Search curves",
            "Supernet under the mixing it trains with and, for validation, under "
            "the incumbent's.",
            {
                "train_loss": "training loss",
                "valid_loss": "validation loss",
                "train_accuracy": "training accuracy",
                "valid_accuracy": "validation accuracy",
            },
        ),
        _by_epoch(
            groups,
            "entropy",
            "Entropy of the mixings",
            "Mean over the edges of a cell, in nats: ln K where all primitives "
            "count alike, 0 where one is chosen.",
            {
                "entropy_normal": "nats, normal cell",
                "entropy_reduce": "nats, reduction cell",
                "entropy_cell": "nats, the only cell",
            },
        ),
        _by_epoch(
            groups,
            "skips_and_pools",
            "Skips and poolings",
            "Edges of the cell that would be derived after each epoch.",
            {
                f"{what}_{kind}": f"{name}, {cell} cell"
                for what, name in (("skip", "skips"), ("pool", "poolings"))
                for kind, cell in (
                    ("normal", "normal"),
                    ("reduce", "reduction"),
                    ("cell", "the only"),
                )
            },
        ),
        _by_epoch(
            groups,
            "eigenvalue",
            "Curvature",
            "Largest eigenvalue of the validation loss's Hessian in alpha.",
            {"eigenvalue": "largest eigenvalue"},
        ),
        _cost(groups),
    ]
    return [figure for figure in figures if figure.rows]


PLACES = ("min", "q1", "median", "q3", "max")
QUANTITIES = {
    "fitness": "fitness (lower is better)",
    "accuracy": "accuracy",
    "similarity": "similarity to alpha",
}


def population_figure(groups: list[Group]) -> Figure | None:
    """Spread of the individuals; None where no group recorded a population."""
    rows = []
    for quantity, group, place in itertools.product(QUANTITIES, groups, PLACES):
        name = f"population_{quantity}_{place}"
        tables = [dict(points(run, name)) for run in group.runs]
        for x in sorted(set.intersection(*map(set, tables))):
            mean = statistics.fmean(table[x] for table in tables)
            rows.append(Row(quantity, group.label, place, x, mean))
    shown = {row.panel for row in rows}
    axes = {
        name: (EPOCHS, label) for name, label in QUANTITIES.items() if name in shown
    }
    text = (
        "All individuals of an epoch: median, quartiles (dark), least and largest "
        "(light); means over the seeds. There are none before alpha's first update."
    )
    return Figure("population", "Population", text, axes, rows) if rows else None


def retrain_figures(groups: list[Group]) -> list[Figure]:
    """The figures of retrainings."""
    figures = [
        _by_epoch(
            groups,
            "retraining",
            "Retraining",
            "Networks trained from scratch; errors are fractions.",
            {"test_error": "test error", "train_loss": "training loss"},
        ),
    ]
    return [figure for figure in figures if figure.rows]


def _by_epoch(groups, name, title, text, panels) -> Figure:
    rows = []
    for panel, group in itertools.product(panels, groups):
        series = {run.name: points(run, panel) for run in group.runs}
        rows += [
            Row(panel, group.label, run, x, y)
            for run, own in series.items()
            for x, y in own
        ]
        rows += bands(panel, group.label, list(series.values()))
    shown = {row.panel for row in rows}
    axes = {panel: (EPOCHS, label) for panel, label in panels.items() if panel in shown}
    return Figure(name, title, f"{text} {BAND}", axes, rows)


def points(run: Run, name: str) -> list[tuple[int, float]]:
    """(epochs trained, value) where a figure was recorded and is a number."""
    return [
        (epoch + 1, value)
        for epoch, value in enumerate(run.column(name))
        if isinstance(value, (int, float)) and math.isfinite(value)
    ]


def bands(panel: str, label: str, series: list[list[tuple[float, float]]]) -> list[Row]:
    """Mean and mean +- standard deviation where every run has a value.

    Args:
      panel, label: of the rows.
      series: (x, y) of each run.
    """
    if len(series) < 2:
        return []
    rows = []
    tables = [dict(own) for own in series]
    for x in sorted(set.intersection(*map(set, tables))):
        values = [table[x] for table in tables]
        mean, spread = statistics.fmean(values), statistics.stdev(values)
        for name, y in (
            ("mean", mean),
            ("mean - sd", mean - spread),
            ("mean + sd", mean + spread),
        ):
            rows.append(Row(panel, label, name, x, y))
    return rows


def _cost(groups) -> Figure:
    rows = []
    for group in groups:
        for run in group.runs:
            seconds = run.column("seconds")
            if None in seconds:
                continue  # not recorded
            spent = list(itertools.accumulate(seconds))
            rows += [
                Row("seconds", group.label, run.name, epoch + 1, value)
                for epoch, value in enumerate(seconds)
            ]
            rows += [
                Row("accuracy", group.label, run.name, spent[x - 1] / 60, y)
                for x, y in points(run, "valid_accuracy")
            ]
    return Figure(
        "cost",
        "Cost",
        "Left: seconds of each epoch; programs compile before the first. Right: what "
        "a minute buys. A line a seed; times of runs that shared a machine do not "
        "compare.",
        {
            "seconds": (EPOCHS, "seconds of an epoch"),
            "accuracy": ("minutes of all epochs so far", "validation accuracy"),
        },
        rows,
    )
