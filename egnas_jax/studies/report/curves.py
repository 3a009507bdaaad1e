"""Computes the points of every figure; the same rows go into its CSV file."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from egnas_jax.studies.report.runs import Group, RunRecord
from egnas_jax.studies.statistics import mean_and_spread


class Row(NamedTuple):
    """One point of a figure.

    Attributes:
      panel: panel of the figure.
      group: label of the group.
      run: name of a run, one of `runs.SUMMARIES` over runs, or one of `QUANTILES`.
      x, y: coordinates.
    """

    panel: str
    group: str
    run: str
    x: float
    y: float


class FigureData(NamedTuple):
    """Points of a figure and the texts around it.

    Attributes:
      name: stem of its files.
      title: heading above it.
      text: caption below it.
      panels: panel -> labels of its x and y axes.
      rows: points; empty where nothing was recorded.
    """

    name: str
    title: str
    text: str
    panels: dict[str, tuple[str, str]]
    rows: list[Row]


EPOCHS = "epochs trained"
BAND = "Thin lines: seeds. Thick: their mean, with one standard deviation around it."
EDGE_COUNTS = {
    f"{what}_{kind}": f"{name}, {cell} cell"
    for what, name in (("skip", "skips"), ("pool", "poolings"))
    for kind, cell in zip(
        ("normal", "reduce", "cell"), ("normal", "reduction", "the only"), strict=True
    )
}
FRONT = {
    "front_size": "cells of the front",
    "front_hypervolume": "hypervolume",
    "front_cost_min": "least cost of the front (millions)",
    "front_cost_max": "largest cost of the front (millions)",
}
QUEUE_AND_SWARM = {
    "queue_fitness": "mean fitness of the queue",
    "swarm_fitness": "mean own best fitness",
    "swarm_speed": "mean absolute velocity",
}
COURSE = {"fitness": "best fitness"} | FRONT | QUEUE_AND_SWARM
# name, title, caption, panel (a metric) -> label of its y axis
SEARCH_FIGURES = (
    (
        "curves",
        "Search curves",
        "Loss and accuracy of the supernet: in training under the mixing of the step, "
        "in validation under the incumbent's mixing.",
        {
            "train_loss": "training loss",
            "valid_loss": "validation loss",
            "train_accuracy": "training accuracy",
            "valid_accuracy": "validation accuracy",
        },
    ),
    (
        "entropy",
        "Entropy of the mixings",
        "Change of the mean over the edges of a cell since the first epoch. The "
        "entropy is ln K where all K primitives have the same weight, 0 where one has "
        "all of it.",
        {
            "entropy_normal": "change (nats), normal cell",
            "entropy_reduce": "change (nats), reduction cell",
            "entropy_cell": "change (nats), the only cell",
        },
    ),
    (
        "skips_and_pools",
        "Skips and poolings",
        "Edges of the cell that would be derived after each epoch.",
        EDGE_COUNTS,
    ),
    (
        "eigenvalue",
        "Curvature",
        "Largest eigenvalue of the validation loss's Hessian in alpha.",
        {"eigenvalue": "largest eigenvalue"},
    ),
    (
        "temperature",
        "Temperature",
        "Temperature of SNAS's samples: the lower, the closer they are to one-hot.",
        {"temperature": "temperature"},
    ),
    (
        "edge_entropy",
        "Entropy of the edge weights",
        "Change of the mean over the nodes of a cell since the first epoch. The "
        "entropy is 0 where one edge has all the weight.",
        {
            "edge_entropy_normal": "change (nats), normal cell",
            "edge_entropy_reduce": "change (nats), reduction cell",
            "edge_entropy_cell": "change (nats), the only cell",
        },
    ),
    (
        "stages",
        "Stages",
        "Stages of P-DARTS, from 0, and the probability of its dropout behind skips.",
        {"stage": "stage", "skip_dropout": "dropout behind skips"},
    ),
    (
        "controller",
        "Controller",
        "The policy of ENAS or PPO: rewards of its cells and their baseline, the "
        "entropy of all decisions of a cell, and the share of ratios that PPO clips.",
        {
            "reward": "mean reward",
            "baseline": "baseline",
            "policy_entropy": "entropy (nats)",
            "clipped_ratios": "clipped ratios",
        },
    ),
    (
        "front",
        "Pareto front",
        "Front of each epoch's search: its size, the volume that it dominates, and the "
        "ends of its costs, in millions.",
        FRONT,
    ),
    (
        "population_state",
        "Queue and swarm",
        "State after each epoch's search: mean fitness of the queue of ageing "
        "evolution, mean of the particles' best fitness, and their mean speed.",
        QUEUE_AND_SWARM,
    ),
)
# A search after the last weight step has one value of these, and a course.
OF_SEARCHES = ("front", "population_state")
COURSE_TEXT = (
    "Last search of a run: the best fitness so far after each generation, and the "
    "method's state. All fitnesses are of the same weights and images."
)
GENERATIONS = "generations"
# Their level hides what moves: an alpha that hardly moves stays at ln K.
SINCE_START = ("entropy", "edge_entropy")
RETRAIN_FIGURE = (
    "retraining",
    "Retraining",
    "Networks trained from scratch; errors are fractions.",
    {"test_error": "test error", "train_loss": "training loss"},
)
COST_TEXT = (
    "Left: seconds of each epoch; programs compile before the first. Right: validation "
    "accuracy over training time. One line for each seed. Times of runs that shared a "
    "machine are not comparable."
)
QUANTILES = ("min", "q1", "median", "q3", "max")
QUANTITIES = {
    "fitness": "fitness (lower is better)",
    "accuracy": "accuracy",
    "similarity": "similarity to alpha",
}
POPULATION_TEXT = (
    "All individuals of an epoch: median, quartiles (dark), least and largest (light); "
    "means over the seeds. There are none before alpha's first update."
)


def search_figures(groups: list[Group]) -> list[FigureData]:
    """Figures of searches, without those of which nothing was recorded."""
    figures = [_by_epoch(groups, *texts) for texts in SEARCH_FIGURES]
    figures += [_course(groups), _cost(groups)]
    return [figure for figure in figures if figure.rows]


def retrain_figures(groups: list[Group]) -> list[FigureData]:
    """Figures of retrainings, without those of which nothing was recorded."""
    figure = _by_epoch(groups, *RETRAIN_FIGURE)
    return [figure] if figure.rows else []


def population_figure(groups: list[Group]) -> FigureData | None:
    """Quantiles of the individuals; None where no group recorded a population."""
    rows = []
    for quantity, group, quantile in itertools.product(QUANTITIES, groups, QUANTILES):
        name = f"population_{quantity}_{quantile}"
        rows += [
            Row(quantity, group.label, quantile, x, mean_and_spread(values)[0])
            for x, values in _common([points(run, name) for run in group.runs])
        ]
    axes = _axes(rows, QUANTITIES)
    if not rows:
        return None
    return FigureData("population", "Population", POPULATION_TEXT, axes, rows)


def _by_epoch(
    groups: list[Group], name: str, title: str, text: str, panels: Mapping[str, str]
) -> FigureData:
    """Metrics over epochs: a panel for each metric, a line for each run."""
    rows, first = [], []
    for panel, group in itertools.product(panels, groups):
        series = {run.name: points(run, panel) for run in group.runs}
        if name in SINCE_START:
            first += [line[0][1] for line in series.values() if line]
            series = {run: _since_start(line) for run, line in series.items()}
        if name in OF_SEARCHES:
            series = {run: line for run, line in series.items() if len(line) > 1}
        rows += _lines(panel, group.label, series)
    if first:
        levels = dict.fromkeys(f"{level:.4g}" for level in (min(first), max(first)))
        text += f" It begins at {' to '.join(levels)} nats."
    return FigureData(name, title, f"{text} {BAND}", _axes(rows, panels), rows)


def _course(groups: list[Group]) -> FigureData:
    """Metrics over the generations of each run's last search."""
    rows = []
    for panel, group in itertools.product(COURSE, groups):
        series = {run.name: course_points(run, panel) for run in group.runs}
        rows += _lines(panel, group.label, series)
    axes = _axes(rows, COURSE, GENERATIONS)
    return FigureData("course", "Course", f"{COURSE_TEXT} {BAND}", axes, rows)


def _lines(
    panel: str, label: str, series: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Row]:
    """Rows of each run's (x, y), and of their mean."""
    rows = [
        Row(panel, label, run, *point) for run, line in series.items() for point in line
    ]
    return rows + bands(panel, label, list(series.values()))


def _since_start(line: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The points of a line, minus its first value."""
    return [(x, y - line[0][1]) for x, y in line]


def _axes(
    rows: list[Row], labels: Mapping[str, str], x: str = EPOCHS
) -> dict[str, tuple[str, str]]:
    """Axis labels of the panels that have rows."""
    panels = {row.panel for row in rows}
    return {name: (x, label) for name, label in labels.items() if name in panels}


def points(run: RunRecord, name: str) -> list[tuple[int, float]]:
    """(epochs trained, value) for every epoch that recorded a finite number."""
    return [
        (epoch + 1, value)
        for epoch, value in enumerate(run.column(name))
        if isinstance(value, (int, float)) and math.isfinite(value)
    ]


def course_points(run: RunRecord, name: str) -> list[tuple[float, float]]:
    """(generation, value) of the last search of a run that recorded its course."""
    for line in reversed(run.lines):
        values = line.get(f"{name}_by_generation")
        if values and line.get("generation"):
            pairs = zip(line["generation"], values, strict=True)
            return [(x, y) for x, y in pairs if y is not None]
    return []


def bands(
    panel: str, label: str, series: Sequence[Sequence[tuple[float, float]]]
) -> list[Row]:
    """Mean and mean +- standard deviation at the x that all runs share.

    Args:
      panel, label: panel and group of the rows.
      series: (x, y) of each run.
    """
    if len(series) < 2:
        return []
    rows = []
    for x, values in _common(series):
        mean, spread = mean_and_spread(values)
        summaries = {
            "mean": mean,
            "mean - sd": mean - spread,
            "mean + sd": mean + spread,
        }
        rows += [Row(panel, label, name, x, y) for name, y in summaries.items()]
    return rows


def _common(series) -> list[tuple[float, list[float]]]:
    """Every x that all lines have, in order, with the y of each line."""
    tables = [dict(line) for line in series]
    shared = sorted(set.intersection(*map(set, tables)))
    return [(x, [table[x] for table in tables]) for x in shared]


def _cost(groups: list[Group]) -> FigureData:
    rows = []
    for label, run in [(group.label, run) for group in groups for run in group.runs]:
        seconds = run.column("seconds")
        if None in seconds:
            continue
        elapsed = list(itertools.accumulate(seconds))
        rows += [
            Row("seconds", label, run.name, epoch, value)
            for epoch, value in enumerate(seconds, start=1)
        ]
        rows += [
            Row("accuracy", label, run.name, elapsed[x - 1] / 60, y)
            for x, y in points(run, "valid_accuracy")
        ]
    axes = {
        "seconds": (EPOCHS, "seconds of an epoch"),
        "accuracy": ("minutes of all epochs so far", "validation accuracy"),
    }
    return FigureData("cost", "Cost", COST_TEXT, axes, rows)
