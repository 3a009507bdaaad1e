"""Compares EG-NAS's evolution with random search and ageing evolution, in a table.

Claim: thousands of runs of every method on all 15,625 cells of NAS-Bench-201. The
validation accuracy after 12 epochs is what a method sees of a cell, and the test
accuracy after 200 epochs is its result. There is neither a network nor shared weights,
so the comparison is of the search alone. `eta 0` leaves the similarity out of EG-NAS's
fitness.

Command: python experiments/nasbench201.py --table FILE.npz --out OUT
"""

import argparse
import functools
import time
from typing import NamedTuple

import command_line
import methods
import record_tables
import results

from egnas_jax.plotting import as_svg
from egnas_jax.settings import apply_settings, as_dict
from egnas_jax.studies.nasbench201 import table_search, table_search_config
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.nasbench201.summary import (
    best_by_validation_regret,
    label,
    summarise_method,
)
from egnas_jax.studies.nasbench201.table import DATASETS, BenchmarkTable
from egnas_jax.studies.nasbench201.table_plots import plot_curves
from egnas_jax.studies.nasbench201.table_search_config import TableSearchConfig
from egnas_jax.studies.report.curves import FigureData, Row
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.write import as_figure

TITLE = "Search in the table of NAS-Bench-201"
TEXT = (
    "Test regret of the best cell by validation accuracy so far; mean over runs, "
    "95 % intervals. Dotted: the best of all cells by validation accuracy."
)


class Plan(NamedTuple):
    """Table searches with one variant of EG-NAS.

    Attributes:
      methods: names of the methods.
      grid: values of EG-NAS's swept hyperparameters; {} for the variant's own.
      settings: other settings.
    """

    methods: tuple[str, ...]
    grid: tuple[dict[str, float], ...] = ({},)
    settings: methods.Settings = methods.NOTHING


COMPARED = ("egnas", "random_search", "ageing_evolution")
# variant of EG-NAS -> what is run
PLANS = {
    "paper": Plan(COMPARED, ({"eta": 0.0}, {"eta": 0.4})),
    "official": Plan(("egnas",)),
    "reproduction": Plan(("egnas",)),
}


class TableOutcome(NamedTuple):
    """Results on one data set.

    Attributes:
      entries: name of a method and its setting -> its entry (`summarise_method`).
      selected: test regret of the cell that is best by validation accuracy.
      seconds: of all programs.
    """

    entries: dict[str, dict]
    selected: float
    seconds: float


def search_all(options: argparse.Namespace, dataset: str) -> TableOutcome:
    """Runs all methods on one data set, where they are missing."""
    entries, seconds = {}, {}
    for variant, plan in PLANS.items():
        base = table_search_config.build(variant, [])
        settings = {"dataset": dataset, "runs": options.runs, **plan.settings}
        config = apply_settings(base, settings)
        key = {"config": as_dict(config), "table": options.table, "plan": plan}
        make = functools.partial(search, options.table, config, plan)
        path = options.out / f"{dataset}-{variant}" / "curves.json"
        curves = methods.make_json(path, key, make)
        for entry in curves["entries"]:
            name = label(entry)
            if entry["method"] == "egnas":
                name = name.replace("egnas", f"EG-NAS {variant}")
            entries[name.replace("_", " ")] = entry
            # settings of one method share a program and its seconds
            seconds[variant, entry["method"]] = entry["seconds"]
    selected = curves["best_by_validation_regret"]
    return TableOutcome(entries, selected, sum(seconds.values()))


def search(path: str, config: TableSearchConfig, plan: Plan) -> dict:
    """Runs the methods of a plan; returns the contents of curves.json."""
    table = read_table(path, config.dataset)
    entries = [
        entry
        for name in plan.methods
        for entry in search_by(
            name, table, config, list(plan.grid) if name == "egnas" else [{}]
        )
    ]
    return {
        "best_by_validation_regret": best_by_validation_regret(table),
        "entries": entries,
    }


def search_by(
    name: str,
    table: BenchmarkTable,
    config: TableSearchConfig,
    grid: list[dict[str, float]],
) -> list[dict]:
    """Entries of one method, one for each setting of a grid."""
    at_queries = table_search.log_spaced_queries(config.queries)
    started = time.perf_counter()
    curves = table_search.run_method(table, config, name, grid, at_queries)
    seconds = time.perf_counter() - started
    optimum = float(table.test.max())
    options = as_dict(getattr(config, name))
    entries = summarise_method(name, grid, curves, at_queries, optimum, options=options)
    return [entry | {"seconds": seconds} for entry in entries]


def plot(outcomes: dict[str, TableOutcome]) -> Figure:
    """Regret over queries, a panel for each data set."""
    from matplotlib.figure import Figure as Canvas  # needs no window system

    canvas = Canvas((4.2 * len(outcomes), 4.2), layout="constrained")
    axes = canvas.subplots(1, len(outcomes), squeeze=False)[0]
    for axis, (dataset, outcome) in zip(axes, outcomes.items(), strict=True):
        plot_curves(axis, outcome.entries, outcome.selected)
        axis.set_title(DATASETS[dataset])
    style = dict(ncols=4, fontsize=8, frameon=False, handlelength=4)
    lines = axes[0].get_legend_handles_labels()
    canvas.legend(*lines, loc="outside lower center", **style)
    rows = [
        Row(DATASETS[dataset], name, part, x, 100 * y)
        for dataset, outcome in outcomes.items()
        for name, entry in outcome.entries.items()
        for part, values in entry["curves"]["test_regret"].items()
        for x, y in zip(entry["queries"], values, strict=True)
        if y is not None
    ]
    return as_figure(FigureData("nasbench201", TITLE, TEXT, {}, rows), as_svg(canvas))


def make_rows(dataset: str, outcome: TableOutcome) -> list[list]:
    """Rows of one data set: every method, and the best cell by validation."""
    rows = [
        [
            DATASETS[dataset],
            name,
            entry["runs"],
            entry["queries"][-1],
            interval_text(entry["final"]["test_regret"]),
            interval_text(entry["answer_regret"]),
            100 * entry["optimum_found"],
        ]
        for name, entry in outcome.entries.items()
    ]
    best = f"{100 * outcome.selected:.3f}"
    is_optimum = 100 * (outcome.selected == 0)
    name = "best of all by validation"
    return [*rows, [DATASETS[dataset], name, None, 15_625, best, None, is_optimum]]


def interval_text(interval: dict) -> str:
    """A mean in percentage points with its interval, which a single run lacks."""
    mean, low, high = (interval[part] for part in ("mean", "low", "high"))
    if low is None:
        return f"{100 * mean:.3f}"
    return f"{100 * mean:.3f} ({100 * low:.3f} to {100 * high:.3f})"


def make_table(options: argparse.Namespace, outcomes: dict[str, TableOutcome]) -> dict:
    """The record."""
    is_all = options.datasets == list(DATASETS)
    datasets = "" if is_all else f" --datasets {' '.join(options.datasets)}"
    return {
        "title": TITLE,
        "claim": "Whether EG-NAS's evolution finds good cells where nothing else is in "
        "its way.",
        "command": f"python experiments/nasbench201.py --table FILE.npz --runs "
        f"{options.runs}{datasets} --out OUT",
        "columns": [
            "data set",
            "method",
            record_tables.column("runs", 0),
            record_tables.column("queries", 0),
            "regret of the best cell seen (points)",
            "of the cell that the method names (points)",
            record_tables.column("runs at the optimum (%)", 1),
        ],
        "rows": [
            row
            for dataset, outcome in outcomes.items()
            for row in make_rows(dataset, outcome)
        ],
        "seconds": sum(outcome.seconds for outcome in outcomes.values()),
        "note": "Regret: best test accuracy of the table less that of the cell, mean "
        "over runs and 95 % interval. Validation accuracy after 12 epochs chooses a "
        "cell. Where the best of all by it (a mean over ties) has a regret, a search "
        "that follows it is not expected to reach the optimum, so the last column "
        "does not measure the search there. The cell that EG-NAS names is derived "
        "from alpha.",
    }


def main(arguments: list[str] | None = None) -> None:
    """Searches in the table and writes the record."""
    parser = command_line.make_parser(__doc__)
    add = parser.add_argument
    table = dict(metavar="FILE.npz", type=command_line.absolute_text)
    add("--table", required=True, **table)
    add("--runs", type=command_line.positive, default=2000)
    names = list(DATASETS)
    add("--datasets", nargs="+", choices=names, default=names)
    options = parser.parse_args(arguments)
    outcomes = {
        dataset: search_all(options, dataset)
        for dataset in dict.fromkeys(options.datasets)
    }
    record = make_table(options, outcomes)
    results.keep(options, "nasbench201", record, {}, plot(outcomes))


if __name__ == "__main__":
    main()
