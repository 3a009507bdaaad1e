"""Does the search beat chance? EG-NAS and its controls, judged by trained cells.

`paper`, `official` and `seed` beside random search, at equal weight steps and equal
candidate images, and two cells that no search found: one drawn at random and that of an
alpha that never moved. Each seed's cell is trained from scratch at about equal numbers
of weights and judged on test images, so that all are measured alike.

An alpha that never moved is noise, and the argmax of noise draws primitives and edges
as uniformly as a random cell does: the two are one control under two names, and a
method is compared with the mean of both of its seed. The claim is worded by the
interval of that difference, corrected for the number of methods: where it holds zero,
nothing is claimed.

Command: python experiments/chance.py --size small --out OUT
"""

import argparse
import pathlib
from typing import NamedTuple

import forks
import jax
import methods
import numpy as np

from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import SPACES, Genotype, derive
from egnas_jax.strategies.egnas.explore import initial_state

DRAWN = ("random cells", "alpha that never moved")
VARIANTS = ("paper", "official", "reproduction")


class Size(NamedTuple):
    """How large searches and trainings are.

    Attributes:
      search: arguments of `paper`, and but for the population of the other variants.
      population: of those, which breed one generation: as many candidate images.
      random_search: arguments of random search: as many candidate images.
      retrain: arguments of all trainings.
      layers: of the trained network.
      image_channels: of the images.
      target: its weights, about.
      seeds: how many by default.
    """

    search: tuple[str, ...]
    population: int
    random_search: tuple[str, ...]
    retrain: tuple[str, ...]
    layers: int
    image_channels: int
    target: int
    seeds: int


SIZES = {
    # 3 explorations of 18 forwards, 9 in each of 6 epochs
    "tiny": Size(
        (*forks.SIZES["tiny"].arguments, "--set", "strategy.warmup=3"),
        16,
        (
            *forks.DIGITS,
            *forks.settings(
                **forks.TINY, strategy__candidates=8, strategy__fitness_batch_size=64
            ),
        ),
        (*forks.DIGITS, *forks.settings(network__layers=2, epochs=8)),
        2,
        1,
        15_000,
        5,
    ),
    # 8 explorations of 68 forwards, 34 in each of 16 epochs
    "small": Size(
        (*forks.SIZES["small"].arguments, "--set", "strategy.warmup=8"),
        32,
        (*forks.DIGITS, *forks.settings(epochs=16, strategy__candidates=33)),
        forks.DIGITS,
        5,
        1,
        54_430,
        3,
    ),
    # 35 explorations of 459 forwards, 321 in each of 50 epochs
    "full": Size(
        ("--preset", "cifar10"),
        151,
        ("--preset", "cifar10", *forks.settings(strategy__candidates=320)),
        ("--preset", "cifar10"),
        20,
        3,
        3_349_342,
        3,
    ),
}


def untrained(seed: int) -> Genotype:
    """What a search would derive before its first update."""
    space = SPACES["darts7"]
    mixing = softmax_mixing(initial_state(space, jax.random.key(seed)).alpha)
    return derive(space, jax.tree.map(np.asarray, mixing))


def searches(size: Size) -> dict[str, list[str]]:
    """Arguments of every method that searches."""
    alike = forks.settings(strategy__population=size.population)
    found = {
        f"EG-NAS {name}": [
            *size.search,
            "--variant",
            name,
            *(() if name == "paper" else alike),
        ]
        for name in VARIANTS
    }
    return found | {
        "random search": [*size.random_search, "--strategy", "random_search"]
    }


def cells(options: argparse.Namespace, size: Size, seed: int) -> dict[str, tuple]:
    """Of every method its cell for one seed, and its search's seconds and images.

    Missing searches are run.
    """
    data = ["--data-dir", options.data_dir] if options.data_dir else []
    own = [
        *data,
        *(
            word
            for one in [*options.settings, f"seed={seed}"]
            for word in ("--set", one)
        ),
    ]
    found = {}
    for name, arguments in searches(size).items():
        folder = options.out / "search" / f"{methods.folder_name(name)}-{seed}"
        summary, lines = methods.run_one([*arguments, *own], folder)
        images = sum(line.get("candidate_images", 0) for line in lines)
        found[name] = Genotype.parse(summary["genotype"]), summary["seconds"], images
    drawn = methods.random_genotype(seed), untrained(seed)
    return found | {
        name: (cell, 0.0, 0) for name, cell in zip(DRAWN, drawn, strict=True)
    }


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
    return {
        "method": name,
        "seed": seed,
        "test_error": summary["test_error_last"],
        "params": summary["params"],
        "genotype": cell.format(),
        "seconds": summary["seconds"],
    }


def main(arguments: list[str] | None = None) -> None:
    options = forks.parser(__doc__, None).parse_args(arguments)
    size = SIZES[options.size]
    runs = [
        trained(options, size, name, cell, seed)
        | {"search_seconds": seconds, "candidate_images": images}
        for seed in range(options.seeds or size.seeds)
        for name, (cell, seconds, images) in cells(options, size, seed).items()
    ]
    errors = {
        name: [run["test_error"] for run in runs if run["method"] == name]
        for name in dict.fromkeys(run["method"] for run in runs)
    }
    chance = [sum(pair) / 2 for pair in zip(*map(errors.get, DRAWN), strict=True)]
    # Bonferroni: all intervals of differences hold at once, 95 times of 100
    rows, together = [], 1 - 0.05 / (len(errors) - len(DRAWN))
    for name, own in errors.items():
        apart = [a - b for a, b in zip(own, chance, strict=True)]
        several = [run for run in runs if run["method"] == name]
        weights = [run["params"] for run in several]
        rows.append(
            [
                name,
                methods.cell(own, 100),
                methods.interval(own, 100),
                *(
                    (None, None)
                    if name in DRAWN
                    else (
                        methods.interval(apart, 100, together),
                        methods.verdict(apart, together),
                    )
                ),
                f"{min(weights):,} to {max(weights):,}",
                sum(run["candidate_images"] for run in several) / len(several),
            ]
        )
    table = {
        "title": "Search against chance",
        "rows": rows,
        "columns": [
            "method",
            "test error (%)",
            "95 % interval",
            "minus both random cells: interval (points)",
            "verdict",
            "weights",
            methods.column("candidate images", 0),
        ],
        "claim": "Are the cells that a search finds better than random ones?",
        "seconds": sum(run["seconds"] + run["search_seconds"] for run in runs),
        "note": "Each seed's cell trained from scratch at about equal numbers of "
        "weights, after searches of equal weight steps. An alpha that never moved "
        "draws cells as random ones are drawn, so that each seed has two; intervals of "
        "differences from their mean hold for all methods together, 95 times of 100 "
        f"(Bonferroni). {forks.images(options)}",
    }
    forks.write(options, "chance", table, runs)


if __name__ == "__main__":
    main()
