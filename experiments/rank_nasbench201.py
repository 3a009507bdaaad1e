"""How well supernets rank the cells of NAS-Bench-201, by the way they were trained.

EG-NAS, random search and first-order DARTS train one supernet a seed; each then prices
the same sample of cells under its weights, and the ranks are compared with those of the
test accuracy after 200 epochs, which the table holds. Beside them what needs no
supernet: the number of a cell's weights.

Command: python experiments/rank_nasbench201.py --table FILE.npz --size small
  --data-dir DIR --out OUT
"""

import argparse
import json
import pathlib
from typing import NamedTuple

import forks
import methods
import numpy as np
import subset

from egnas_jax.nn.topology_cost import topology_params
from egnas_jax.space import Topology
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.rank_correlation import RESAMPLES
from egnas_jax.studies.statistics import rank_correlations

WEIGHTS = "number of weights"
JUDGED = "test_accuracy_200_epochs"


class Size(NamedTuple):
    """How much is trained and ranked.

    Attributes:
      search: arguments of all searches.
      subset: images of CIFAR-10 that are taken, half of them to train; 0: all data.
      cells: that are ranked.
      images: that they are evaluated on.
      seeds: how many by default.
    """

    search: tuple[str, ...]
    subset: int
    cells: int
    images: int
    seeds: int


NARROW = dict(supernet__layers=5, supernet__partial_channels=1)
SIZES = {
    "tiny": Size(
        (
            *forks.DIGITS,
            *forks.settings(
                **NARROW, supernet__channels=4, epochs=3, learning_rate=0.05
            ),
        ),
        0,
        100,
        64,
        2,
    ),
    "small": Size(
        (
            "--preset",
            "cifar10",
            *forks.settings(
                **NARROW,
                supernet__channels=8,
                epochs=20,
                batch_size=64,
                learning_rate=0.05,
            ),
        ),
        10_000,
        1000,
        512,
        3,
    ),
    "full": Size(
        (
            "--preset",
            "cifar10",
            *forks.settings(
                supernet__layers=17, supernet__partial_channels=1, epochs=250
            ),
        ),
        0,
        15_625,
        5_000,
        3,
    ),
}
CONTROLS = {
    "random search": (
        "--strategy",
        "random_search",
        *forks.settings(strategy__candidates=50),
    ),
    "DARTS, first order": ("--strategy", "darts"),
}
# alpha moves from the first epoch on, as that of the others does
EGNAS = forks.settings(strategy__warmup=0, strategy__population=10, strategy__samples=1)


def ranks(options: argparse.Namespace, size: Size, folder: pathlib.Path) -> dict:
    """What `egnas rank-correlation` wrote of a run; it is made where it is missing."""
    made = "rank_correlation.json"
    command = [
        "rank-correlation",
        str(folder),
        "--table",
        options.table,
        "--dataset",
        "cifar10",
        "--sample",
        str(size.cells),
        "--images",
        str(size.images),
        *_data(options),
    ]
    methods.once(command, folder, made, resume=False)
    return json.loads((folder / made).read_text())


def by_weights(ranked: dict) -> dict:
    """The same correlations of the cells' numbers of weights."""
    sample = ranked["sample"]
    weights = [topology_params(Topology.parse(cell), 10) for cell in sample["cell"]]
    return rank_correlations(
        np.asarray(weights),
        np.asarray(sample[JUDGED]),
        resamples=RESAMPLES,
        seed=ranked["seed"],
    )


def of_loss(ranked: dict) -> dict:
    """Correlations of the supernet's loss, by which a search chooses."""
    (found,) = [
        one
        for one in ranked["correlations"]
        if (one["supernet"], one["table"]) == ("loss", JUDGED)
    ]
    return found


def _data(options):
    return ["--data-dir", options.data_dir] if options.data_dir else []


def _searches(options, size):
    """Arguments of every method, the subset of the images among them."""
    data = subset.words(options.data_dir, options.out, size.subset)
    common = [*size.search, "--space", "nasbench201", *data]
    common += [word for one in options.settings for word in ("--set", one)]
    own = {f"EG-NAS {options.variant}": ("--variant", options.variant, *EGNAS)}
    return {name: [*common, *words] for name, words in (own | CONTROLS).items()}


def main(arguments: list[str] | None = None) -> None:
    parser = forks.parser(__doc__, "paper")
    parser.add_argument("--table", required=True, metavar="FILE.npz")
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    seeds = options.seeds or size.seeds
    try:
        read_table(options.table, "cifar10")  # before the searches, not after them
        searches = _searches(options, size)
    except ValueError as error:
        parser.error(str(error))
    found = list(methods.run_all(searches, seeds, options.out))
    ranked = {
        (one.method, one.seed): ranks(
            options,
            size,
            options.out / f"{methods.folder_name(one.method)}-{one.seed}",
        )
        for one in found
    }
    rows = []
    for name in searches:
        own = [ranked[name, seed] for seed in range(seeds)]
        rows.append(
            [
                name,
                methods.cell(forks.of(found, name, forks.accuracy), 100),
                *(
                    methods.cell([of_loss(one)[measure]["value"] for one in own])
                    for measure in ("kendall", "spearman")
                ),
                methods.cell([one["best_test_accuracy"] for one in own], 100),
            ]
        )
    first = ranked[found[0].method, 0]  # the cells are those of all runs
    counted = by_weights(first)
    rows.append(
        [
            WEIGHTS,
            None,
            *(
                f"{counted[measure]['value']:.2f} ({counted[measure]['low']:.2f} to "
                f"{counted[measure]['high']:.2f})"
                for measure in ("kendall", "spearman")
            ),
            None,
        ]
    )
    epochs = first["epochs"]
    table = {
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
        "seconds": sum(one.summary["seconds"] for one in found),
        "note": f"{first['cells']:,} cells on {first['images']} validation images "
        f"after {epochs} epochs, against the test accuracy after 200 epochs; the best "
        f"cell of the table, which is of CIFAR-10, has {100 * first['optimum']:.2f} %. "
        f"{forks.images(options, size.search, size.subset)} Mean and standard "
        f"deviation over seeds; of the weights, a bootstrap interval over cells.",
    }
    details = {
        f"{name}, seed {seed}": one["correlations"]
        for (name, seed), one in ranked.items()
    }
    details |= {WEIGHTS: counted}
    forks.write(options, "rank_nasbench201", table, details, "--table FILE.npz")


if __name__ == "__main__":
    main()
