"""Measures how well supernets rank the cells of NAS-Bench-201, by their training.

EG-NAS, random search and first-order DARTS train one supernet per seed. Each then
evaluates the same sample of cells under its weights, and the ranks are compared with
those of the test accuracy after 200 epochs, which the table holds. A baseline that
needs no supernet ranks cells by their number of weights.

Command: python experiments/rank_nasbench201.py --table FILE.npz --size small
  --data-dir DIR --out OUT
"""

import argparse
import functools
import pathlib
from typing import NamedTuple

import forks
import methods
import numpy as np
import record_tables
import subset
from methods import Method, Outcome

import egnas_jax as eg
from egnas_jax.nn.topology_cost import topology_params
from egnas_jax.settings import assignments
from egnas_jax.studies import rank_correlation
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.nasbench201.table import BenchmarkTable
from egnas_jax.studies.statistics import rank_correlations

WEIGHTS = "number of weights"
REFERENCE = "test_accuracy_200_epochs"
MEASURES = ("kendall", "spearman")


class Size(NamedTuple):
    """How much is trained and ranked.

    Attributes:
      preset: of all searches.
      settings: of all searches.
      subset: images of CIFAR-10 that are taken, half of them to train; 0: all data.
      cells: number of cells that are ranked.
      images: number of images that they are evaluated on.
      seeds: default number of seeds.
    """

    preset: str
    settings: dict
    subset: int
    cells: int
    images: int
    seeds: int


NARROW = {
    "supernet.layers": 5,
    "supernet.partial_channels": 1,
    "learning_rate": 0.05,
}
SIZES = {
    "tiny": Size(
        preset="digits",
        settings={**NARROW, "supernet.channels": 4, "epochs": 3, "batch_size": 64},
        subset=0,
        cells=100,
        images=64,
        seeds=2,
    ),
    "small": Size(
        preset="cifar10",
        settings={**NARROW, "supernet.channels": 8, "epochs": 20, "batch_size": 64},
        subset=10_000,
        cells=1000,
        images=512,
        seeds=3,
    ),
    "full": Size(
        preset="cifar10",
        settings={
            "supernet.layers": 17,
            "supernet.partial_channels": 1,
            "epochs": 250,
        },
        subset=0,
        cells=15_625,
        images=5_000,
        seeds=3,
    ),
}
CONTROLS = {
    "random search": Method(
        strategy="random_search", settings={"strategy.candidates": 50}
    ),
    "DARTS, first order": Method(strategy="darts"),
}
# alpha moves from the first epoch on, as that of the others does
EGNAS = {"strategy.warmup": 0, "strategy.population": 10, "strategy.samples": 1}


def rank(
    folder: pathlib.Path, table: BenchmarkTable, size: Size, data_dir: str | None
) -> dict:
    """Ranks cells by the supernet of a run, see `studies.rank_correlation.rank`."""
    search = eg.load_search(folder, data_dir=data_dir)
    supernet = rank_correlation.from_run(search, size.images, seed=0)
    return rank_correlation.rank(
        supernet, table, sample=size.cells, seed=0, batch_stats="batch"
    )


def rank_by_weights(ranking: dict) -> dict:
    """The same correlations of the cells' numbers of weights."""
    sample = ranking["sample"]
    weights = [topology_params(eg.Topology.parse(cell), 10) for cell in sample["cell"]]
    return rank_correlations(
        np.asarray(weights),
        np.asarray(sample[REFERENCE]),
        resamples=rank_correlation.RESAMPLES,
        seed=ranking["seed"],
    )


def correlations_of_loss(ranking: dict) -> dict:
    """Correlations of the supernet's loss, by which a search chooses."""
    (correlations,) = [
        entry
        for entry in ranking["correlations"]
        if (entry["supernet"], entry["table"]) == ("loss", REFERENCE)
    ]
    return correlations


def searches(
    options: argparse.Namespace, size: Size, source: subset.Source
) -> dict[str, Method]:
    """Every method, with the settings of the size and of the command line."""
    common = {**size.settings, **source.settings, **assignments(options.settings)}
    plans = {
        f"EG-NAS {options.variant}": Method(variant=options.variant, settings=EGNAS),
        **CONTROLS,
    }
    return {
        name: plan._replace(
            preset=size.preset,
            space="nasbench201",
            settings={**common, **plan.settings},
        )
        for name, plan in plans.items()
    }


def rank_all(
    options: argparse.Namespace, table: BenchmarkTable, outcomes: list[Outcome]
) -> dict[tuple[str, int], dict]:
    """(method, seed) -> its result of `rank`, which is made where it is missing."""
    size, rankings = SIZES[options.size], {}
    key = {
        "table": options.table,
        "cells": size.cells,
        "images": size.images,
        "data_dir": options.data_dir,
    }
    for outcome in outcomes:
        name = methods.folder_name(outcome.method)
        folder = options.out / f"{name}-{outcome.seed}"
        make = functools.partial(rank, folder, table, size, options.data_dir)
        path = folder / "rank_correlation.json"
        rankings[outcome.method, outcome.seed] = methods.make_json(path, key, make)
    return rankings


def make_row(name: str, outcomes: list[Outcome], rankings: list[dict]) -> list:
    """The row of one method, over its seeds."""
    correlations = [correlations_of_loss(ranking) for ranking in rankings]
    best = [ranking["best_test_accuracy"] for ranking in rankings]
    return [
        name,
        record_tables.cell(forks.values_of(outcomes, name, forks.accuracy), 100),
        *(
            record_tables.cell([entry[measure]["value"] for entry in correlations])
            for measure in MEASURES
        ),
        record_tables.cell(best, 100),
    ]


def make_weights_row(correlations: dict) -> list:
    """The row of the number of weights, with intervals over cells."""
    texts = [
        "{value:.2f} ({low:.2f} to {high:.2f})".format(**correlations[measure])
        for measure in MEASURES
    ]
    return [WEIGHTS, None, *texts, None]


def make_table(
    options: argparse.Namespace,
    outcomes: list[Outcome],
    rankings: dict[tuple[str, int], dict],
) -> dict:
    """The record without its command."""
    size = SIZES[options.size]
    first, *_ = rankings.values()  # all rank the same cells
    names = dict.fromkeys(name for name, _ in rankings)
    rows = [
        make_row(name, outcomes, [rankings[key] for key in rankings if key[0] == name])
        for name in names
    ]
    rows.append(make_weights_row(rank_by_weights(first)))
    method = Method(size.preset, settings=size.settings)
    return {
        "title": "Ranks of cells by supernets, NAS-Bench-201",
        "claim": "Whether a supernet's loss ranks cells as training them does, and "
        "better than their numbers of weights do.",
        "columns": [
            "method",
            "valid. accuracy (%)",
            "Kendall's tau",
            "Spearman's rho",
            "test accuracy of the cell ranked first (%)",
        ],
        "rows": rows,
        "seconds": sum(outcome.summary["seconds"] for outcome in outcomes),
        "note": f"{first['cells']:,} cells on {first['images']} validation images "
        f"after {first['epochs']} epochs, against the test accuracy after 200 epochs; "
        f"the best cell of the table, which is of CIFAR-10, has "
        f"{100 * first['optimum']:.2f} %. "
        f"{forks.describe_images(options, method, size.subset)} Mean and standard "
        f"deviation over seeds; of the weights, a bootstrap interval over cells.",
    }


def main(arguments: list[str] | None = None) -> None:
    """Searches, ranks by every supernet and writes the record."""
    parser = forks.make_parser(__doc__, "paper")
    parser.add_argument("--table", required=True, metavar="FILE.npz")
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    try:
        table = read_table(options.table, "cifar10")  # before the searches start
        source = subset.locate(options.data_dir, options.out, size.subset)
        plans = searches(options, size, source)
    except ValueError as error:
        parser.error(str(error))
    seeds = options.seeds or size.seeds
    outcomes = list(methods.run_all(plans, seeds, options.out, source.data_dir))
    rankings = rank_all(options, table, outcomes)
    details = {
        f"{name}, seed {seed}": ranking["correlations"]
        for (name, seed), ranking in rankings.items()
    }
    first, *_ = rankings.values()
    details[WEIGHTS] = rank_by_weights(first)
    record = make_table(options, outcomes, rankings)
    extra = ["--table FILE.npz"]
    forks.write(options, "rank_nasbench201", record, details, extra=extra)


if __name__ == "__main__":
    main()
