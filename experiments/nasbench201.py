"""EG-NAS's evolution beside random search and ageing evolution, in a table.

Claim: thousands of runs of every method on all 15,625 cells of NAS-Bench-201, whose
validation accuracy after 12 epochs prices a cell, and whose test accuracy after 200
judges it. No network and no weights that are shared: what is compared is the search
alone. `eta 0` leaves the similarity out of EG-NAS's fitness.

Command: python experiments/nasbench201.py --table FILE.npz --out OUT
"""

import argparse
import json
from typing import NamedTuple

import methods
import results

from egnas_jax.plotting import as_svg
from egnas_jax.studies.nasbench201.summary import label
from egnas_jax.studies.nasbench201.table import DATASETS
from egnas_jax.studies.nasbench201.table_plots import plot_curves
from egnas_jax.studies.report.curves import FigureData, Row
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.write import as_figure

TITLE = "Search in the table of NAS-Bench-201"
# name in the record -> arguments of `egnas table-search`
SEARCHES = {
    "paper": ["--variant", "paper", "--sweep", "egnas.eta=0,0.4"],
    "official": ["--variant", "official", "--strategy", "egnas"],
    "reproduction": ["--variant", "reproduction", "--strategy", "egnas"],
}


class Searched(NamedTuple):
    """What the commands wrote of one data set.

    Attributes:
      named: name of a method and its setting -> its entry.
      selected: test regret of the cell that is best by validation accuracy.
      seconds: of all programs.
    """

    named: dict[str, dict]
    selected: float
    seconds: float


def searched(options: argparse.Namespace, dataset: str) -> Searched:
    """All methods on one data set; what is missing is run."""
    named, seconds = {}, {}
    for variant, arguments in SEARCHES.items():
        folder = options.out / f"{dataset}-{variant}"
        command = [
            "table-search",
            "--table",
            options.table,
            "--dataset",
            dataset,
            "--runs",
            str(options.runs),
            *arguments,
        ]
        methods.once(command, folder, "curves.json", resume=False)
        whole = json.loads((folder / "curves.json").read_text())
        for entry in whole["entries"]:
            name = label(entry)
            if entry["method"] == "egnas":
                name = name.replace("egnas", f"EG-NAS {variant}")
            named[name.replace("_", " ")] = entry
            # settings of one method share a program and its seconds
            seconds[variant, entry["method"]] = entry["seconds"]
    selected = whole["best_by_validation_regret"]
    return Searched(named, selected, sum(seconds.values()))


def drawn(found: dict[str, Searched]) -> Figure:
    """Regret over queries, a panel a data set."""
    from matplotlib.figure import Figure as Canvas  # no window system

    canvas = Canvas((4.2 * len(found), 4.2), layout="constrained")
    axes = canvas.subplots(1, len(found), squeeze=False)[0]
    for axis, (dataset, one) in zip(axes, found.items(), strict=True):
        plot_curves(axis, one.named, one.selected)
        axis.set_title(DATASETS[dataset])
    lines = axes[0].get_legend_handles_labels()
    canvas.legend(
        *lines,
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
        handlelength=4,
    )
    rows = [
        Row(DATASETS[dataset], name, part, x, 100 * y)
        for dataset, one in found.items()
        for name, entry in one.named.items()
        for part, values in entry["curves"]["test_regret"].items()
        for x, y in zip(entry["queries"], values, strict=True)
        if y is not None
    ]
    text = (
        "Test regret of the best cell by validation accuracy so far; mean over runs, "
        "95 % intervals. Dotted: the best of all cells by validation accuracy."
    )
    return as_figure(FigureData("nasbench201", TITLE, text, {}, rows), as_svg(canvas))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--table",
        required=True,
        metavar="FILE.npz",
        type=lambda text: str(methods.absolute(text)),
    )
    parser.add_argument("--runs", type=methods.counted, default=2000)
    parser.add_argument(
        "--datasets", nargs="+", choices=list(DATASETS), default=list(DATASETS)
    )
    methods.add_out(parser)
    options = parser.parse_args(arguments)
    found = {name: searched(options, name) for name in dict.fromkeys(options.datasets)}
    rows = []
    for dataset, one in found.items():
        rows += [
            [
                DATASETS[dataset],
                name,
                entry["runs"],
                entry["queries"][-1],
                _interval(entry["final"]["test_regret"]),
                _interval(entry["answer_regret"]),
                100 * entry["optimum_found"],
            ]
            for name, entry in one.named.items()
        ]
        rows.append(
            [
                DATASETS[dataset],
                "best of all by validation",
                None,
                15_625,
                f"{100 * one.selected:.3f}",
                None,
                100 * (one.selected == 0),
            ]
        )
    which = (
        ""
        if options.datasets == list(DATASETS)
        else (f" --datasets {' '.join(options.datasets)}")
    )
    table = {
        "title": TITLE,
        "claim": "Whether EG-NAS's evolution finds good cells where nothing else is in "
        "its way.",
        "command": f"python experiments/nasbench201.py --table FILE.npz --runs "
        f"{options.runs}{which} --out OUT",
        "columns": [
            "data set",
            "method",
            {"name": "runs", "decimals": 0},
            {"name": "queries", "decimals": 0},
            "regret of the best cell seen (points)",
            "of the cell that the method names (points)",
            {"name": "runs at the optimum (%)", "decimals": 1},
        ],
        "rows": rows,
        "seconds": sum(one.seconds for one in found.values()),
        "note": "Regret: best test accuracy of the table less that of the cell, mean "
        "over runs and 95 % interval. Validation accuracy after 12 epochs chooses a "
        "cell. Where the best of all by it (the mean of those that tie) has a regret, "
        "the optimum is not what a search looks for, and reaching it is no merit. The "
        "cell that EG-NAS names is derived from alpha.",
    }
    results.keep(options, "nasbench201", table, {}, drawn(found))


def _interval(found: dict) -> str:
    if found["low"] is None:  # of one run
        return f"{100 * found['mean']:.3f}"
    mean, low, high = (100 * found[part] for part in ("mean", "low", "high"))
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
