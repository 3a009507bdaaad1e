"""EG-NAS's evolution beside random search and ageing evolution, in a table.

Claim: thousands of runs of every method on all 15,625 cells of NAS-Bench-201, whose
validation accuracy after 12 epochs prices a cell, and whose test accuracy after 200
judges it. No network and no weights that are shared: what is compared is the search
alone. `eta 0` leaves the similarity out of EG-NAS's fitness.

Command: python experiments/nasbench201.py --table FILE.npz --out OUT
"""

import argparse
import json
from collections.abc import Iterator

import methods
import results

from egnas_jax.tabular.report import label
from egnas_jax.tabular.table import DATASETS

# name in the table -> arguments of `egnas table-search`
SEARCHES = {
    "paper": ["--variant", "paper", "--sweep", "egnas.eta=0,0.4"],
    "official": ["--variant", "official", "--strategy", "egnas"],
    "seed": ["--variant", "seed", "--strategy", "egnas"],
}


def entries(options: argparse.Namespace) -> Iterator[tuple[str, str, dict]]:
    """Data set, variant and what a command wrote of each method and setting."""
    for dataset in options.datasets:
        for variant, arguments in SEARCHES.items():
            folder = options.out / f"{dataset}-{variant}"
            command = ["table-search", "--table", options.table, "--dataset", dataset,
                       "--runs", str(options.runs), *arguments]  # fmt: skip
            methods.once(command, folder, "curves.json", resume=False)
            whole = json.loads((folder / "curves.json").read_text())
            for entry in whole["entries"]:
                yield dataset, variant, entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", required=True, metavar="FILE.npz")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS))
    methods.add_out(parser)
    options = parser.parse_args(arguments)
    rows, seconds = [], {}
    for dataset, variant, entry in entries(options):
        name = label(entry)
        if entry["method"] == "egnas":
            name = name.replace("egnas", f"EG-NAS {variant}")
        rows.append([
            DATASETS[dataset], name, entry["runs"], entry["queries"][-1],
            _interval(entry["final"]["test_regret"]), _interval(entry["answer_regret"]),
            100 * entry["optimum_found"],
        ])  # fmt: skip
        # settings of one method share a program and its seconds
        seconds[dataset, variant, entry["method"]] = entry["seconds"]
    which = "" if options.datasets == list(DATASETS) else (
        f" --datasets {' '.join(options.datasets)}")  # fmt: skip
    table = {
        "title": "Search in the table of NAS-Bench-201",
        "claim": "Whether EG-NAS's evolution finds good cells where nothing else is in "
        "its way.",
        "command": f"python experiments/nasbench201.py --table FILE.npz --runs "
        f"{options.runs}{which} --out OUT",
        "columns": ["data set", "method", {"name": "runs", "decimals": 0},
                    {"name": "queries", "decimals": 0},
                    "regret of the best cell seen (points)",
                    "of the cell that the method names (points)",
                    {"name": "runs at the optimum (%)", "decimals": 1}],
        "rows": rows,
        "seconds": sum(seconds.values()),
        "note": "Regret: best test accuracy of the table less that of the cell, mean "
        "over runs and 95 % interval. Validation accuracy after 12 epochs chooses a "
        "cell; the one that EG-NAS names is derived from alpha.",
    }  # fmt: skip
    kept = "nasbench201" if options.record else None
    results.write(options.out / "nasbench201.json", table, {}, kept)


def _interval(found: dict) -> str:
    mean, low, high = (100 * found[part] for part in ("mean", "low", "high"))
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
