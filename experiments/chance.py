"""Does the search beat chance? EG-NAS and its controls, judged by trained cells.

`paper`, `official` and `seed` beside random search (equal weight steps, about equal
candidate images), cells drawn at random and the cell of an alpha that never moved. Each
seed's cell is trained from scratch at about equal numbers of weights and judged on test
images, so that all are measured alike. The claim is worded by the interval of the
difference from random cells, corrected for five of them: where it holds zero, nothing
is claimed.

Command: python experiments/chance.py --size small --out OUT
"""

import argparse
import pathlib
from typing import NamedTuple

import forks
import jax
import methods
import numpy as np

from egnas_jax.nn.network import NetworkConfig
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import SPACES, Genotype, derive
from egnas_jax.strategies.egnas_explore import initial_state

CHANCE = "random cells"
VARIANTS = ("paper", "official", "seed")


class Size(NamedTuple):
    """How large searches and trainings are.

    Attributes:
      search: arguments shared by all searches.
      random_search: of random search alone: as many candidate images.
      retrain: arguments of all trainings.
      layers: of the trained network.
      image_channels: of the images.
      target: its weights, about.
      seeds: how many by default.
    """

    search: tuple[str, ...]
    random_search: tuple[str, ...]
    retrain: tuple[str, ...]
    layers: int
    image_channels: int
    target: int
    seeds: int


SIZES = {
    # 3 explorations of 9 forwards; 27 in 6 epochs
    "tiny": Size(
        (*forks.SIZES["tiny"].arguments, "--set", "strategy.warmup=3"),
        (*forks.DIGITS, *forks.settings(
            **forks.TINY, strategy__candidates=4, strategy__fitness_batch_size=64)),
        (*forks.DIGITS, *forks.settings(network__layers=2, epochs=8)),
        2, 1, 15_000, 5,
    ),
    # 8 explorations of 68 forwards; 544 in 16 epochs
    "small": Size(
        (*forks.SIZES["small"].arguments, "--set", "strategy.warmup=8"),
        (*forks.DIGITS, *forks.settings(epochs=16, strategy__candidates=33)),
        forks.DIGITS,
        5, 1, 54_430, 3,
    ),
    "full": Size(
        ("--preset", "cifar10"),
        ("--preset", "cifar10", "--strategy", "random_search"),
        ("--preset", "cifar10"),
        20, 3, 3_349_342, 3,
    ),
}  # fmt: skip


def untrained(seed: int) -> Genotype:
    """What a search would derive before its first update."""
    space = SPACES["darts7"]
    mixing = softmax_mixing(initial_state(space, jax.random.key(seed)).alpha)
    return derive(space, jax.tree.map(np.asarray, mixing))


def cells(
    options: argparse.Namespace, size: Size, seed: int
) -> dict[str, tuple[Genotype, float]]:
    """The cell of every method for one seed, and seconds of its search.

    Missing searches are run.
    """
    data = ["--data-dir", options.data_dir] if options.data_dir else []
    own = [*data, *(word for one in [*options.settings, f"seed={seed}"]
                    for word in ("--set", one))]  # fmt: skip
    searches = {
        f"EG-NAS {name}": [*size.search, "--variant", name] for name in VARIANTS
    }
    searches["random search"] = [*size.random_search, "--strategy", "random_search"]
    found = {}
    for name, arguments in searches.items():
        folder = options.out / "search" / f"{methods.folder_name(name)}-{seed}"
        summary, _ = methods.run_one([*arguments, *own], folder)
        found[name] = Genotype.parse(summary["genotype"]), summary["seconds"]
    found["alpha that never moved"] = untrained(seed), 0.0
    found[CHANCE] = methods.random_genotype(seed), 0.0
    return found


def trained(options, size: Size, name: str, cell: Genotype, seed: int) -> dict:
    """Test error and weights of a cell, trained where it is not yet."""
    channels = methods.equal_channels(
        cell, NetworkConfig(layers=size.layers), size.image_channels, size.target
    )
    data = ["--data-dir", options.data_dir] if options.data_dir else []
    arguments = [*size.retrain, *data, "--genotype", cell.format()]
    for setting in (f"network.channels={channels}", f"seed={seed}"):
        arguments += ["--set", setting]
    folder: pathlib.Path = options.out / f"{methods.folder_name(name)}-{seed}"
    summary, _ = methods.run_one(arguments, folder, "retrain")
    return {"method": name, "seed": seed, "test_error": summary["test_error_last"],
            "params": summary["params"], "genotype": cell.format(),
            "seconds": summary["seconds"]}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    options = forks.parser(__doc__, None).parse_args(arguments)
    size = SIZES[options.size]
    runs = [
        trained(options, size, name, cell, seed) | {"search_seconds": seconds}
        for seed in range(options.seeds or size.seeds)
        for name, (cell, seconds) in cells(options, size, seed).items()
    ]
    errors = {
        name: [run["test_error"] for run in runs if run["method"] == name]
        for name in dict.fromkeys(run["method"] for run in runs)
    }
    # Bonferroni: all intervals of differences hold at once, 95 times of 100
    rows, together = [], 1 - 0.05 / (len(errors) - 1)
    for name, own in errors.items():
        apart = [a - b for a, b in zip(own, errors[CHANCE], strict=True)]
        weights = [run["params"] for run in runs if run["method"] == name]
        rows.append([
            name, methods.cell(own, 100), forks.interval(own, 100),
            *((None, None) if name == CHANCE
              else (forks.interval(apart, 100, together),
                    forks.verdict(apart, together))),
            f"{min(weights):,} to {max(weights):,}",
        ])  # fmt: skip
    table = {
        "title": "Search against chance", "rows": rows,
        "columns": ["method", "test error (%)", "95 % interval",
                    "minus random cells: 95 % interval (points)", "verdict", "weights"],
        "claim": "Are the cells that a search finds better than random ones?",
        "seconds": sum(run["seconds"] + run["search_seconds"] for run in runs),
        "note": "Each seed's cell trained from scratch at about equal numbers of "
        "weights; searches at equal weight steps and about equal candidate images. "
        "The intervals of the differences hold for all five together (Bonferroni).",
    }  # fmt: skip
    forks.write(options, "chance", table, runs)


if __name__ == "__main__":
    main()
