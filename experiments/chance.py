"""Does the search beat chance? Compares EG-NAS and its controls by trained cells.

`paper`, `official` and `reproduction` are compared with random search, at equal weight
steps and equal candidate images, and with two cells that no search found: one drawn at
random, and that of an alpha that never moved. Each seed's cell is trained from scratch
at about equal numbers of weights, and all are compared by their test error.

An alpha that never moved is noise, and the argmax of noise draws primitives and edges
as uniformly as a random cell does. So the two are one control under two names, and a
method is compared with the mean of both of its seed. The verdict follows from the
interval of that difference, corrected for the number of methods: where it holds zero,
nothing is claimed.

Command: python experiments/chance.py --size small --out OUT

With races for fitness batches, at no more candidate images: --egnas-set
strategy.fitness_batches=auto --egnas-set strategy.fitness_batch_size=N, with N a
quarter of the size's.
"""

import argparse
import statistics
from typing import NamedTuple

import forks
import methods
import record_tables
from methods import Method, Training
from random_cells import equal_channels, initial_genotype, random_genotype

from egnas_jax import Genotype, NetworkConfig
from egnas_jax.data.source import check_found
from egnas_jax.settings import assignments
from egnas_jax.strategies.egnas.variants import READINGS

CONTROLS = {
    "random cells": random_genotype,
    "alpha that never moved": initial_genotype,
}


class Size(NamedTuple):
    """How large searches and trainings are.

    Attributes:
      egnas: searches of `paper`; the other variants differ in their population.
      population: of the other variants, which breed one generation, so that they
        evaluate as many candidate images.
      random_search: searches with as many candidate images.
      preset, training: preset and settings of all trainings.
      layers: cells of the trained network.
      image_channels: of the images.
      target: about so many weights has the trained network.
      seeds: default number of seeds.
    """

    egnas: Method
    population: int
    random_search: Method
    preset: str
    training: dict
    layers: int
    image_channels: int
    target: int
    seeds: int


RANDOM_SEARCH = Method(strategy="random_search")
SIZES = {
    # 3 explorations of 18 forward passes, 9 in each of 6 epochs
    "tiny": Size(
        egnas=forks.SIZES["tiny"].method.with_settings({"strategy.warmup": 3}),
        population=16,
        random_search=RANDOM_SEARCH.with_settings(
            {**forks.TINY, "strategy.candidates": 8}
        ),
        preset="digits",
        training={"network.layers": 2, "epochs": 8},
        layers=2,
        image_channels=1,
        target=15_000,
        seeds=5,
    ),
    # 8 explorations of 68 forward passes, 34 in each of 16 epochs
    "small": Size(
        egnas=forks.SIZES["small"].method.with_settings({"strategy.warmup": 8}),
        population=32,
        random_search=RANDOM_SEARCH.with_settings(
            {"epochs": 16, "strategy.candidates": 33}
        ),
        preset="digits",
        training={},
        layers=5,
        image_channels=1,
        target=54_430,
        seeds=3,
    ),
    # 35 explorations of 459 forward passes, 321 in each of 50 epochs
    "full": Size(
        egnas=Method("cifar10"),
        population=151,
        random_search=Method(
            "cifar10", "random_search", settings={"strategy.candidates": 320}
        ),
        preset="cifar10",
        training={},
        layers=20,
        image_channels=3,
        target=3_349_342,
        seeds=3,
    ),
}


class Candidate(NamedTuple):
    """A cell to train.

    Attributes:
      genotype: the cell.
      search_seconds: duration of its search; 0 without one.
      candidate_images: forward passes of its search; 0 without one.
    """

    genotype: Genotype
    search_seconds: float = 0.0
    candidate_images: float = 0


def searches(size: Size) -> dict[str, Method]:
    """Every method that searches, by its name."""
    egnas = {
        f"EG-NAS {name}": size.egnas._replace(variant=name)
        if name == "paper"
        else size.egnas._replace(variant=name).with_settings(
            {"strategy.population": size.population}
        )
        for name in READINGS
    }
    return {**egnas, "random search": size.random_search}


def with_options(options: argparse.Namespace, method: Method) -> Method:
    """The method with the settings of the command line."""
    own = options.egnas_settings if method.strategy == "egnas" else []
    return method.with_settings(assignments([*options.settings, *own]))


def check(options: argparse.Namespace, size: Size) -> None:
    """Refuses options before the first search.

    Raises:
      ValueError: a setting that a search does not have, or a folder without its data.
    """
    for method in searches(size).values():
        check_found(with_options(options, method).config().data, options.data_dir)


def candidates(
    options: argparse.Namespace, size: Size, seed: int
) -> dict[str, Candidate]:
    """Name -> its cell for one seed; searches that are missing are run."""
    cells = {}
    for name, method in searches(size).items():
        folder = options.out / "search" / f"{methods.folder_name(name)}-{seed}"
        job = with_options(options, method).job(folder, seed, options.data_dir)
        outcome = methods.finish(name, seed, job)
        cells[name] = Candidate(
            Genotype.parse(outcome.summary["genotype"]),
            outcome.summary["seconds"],
            record_tables.candidate_images(outcome),
        )
    return cells | {name: Candidate(draw(seed)) for name, draw in CONTROLS.items()}


def train(
    options: argparse.Namespace, size: Size, name: str, seed: int, cell: Candidate
) -> dict:
    """Trains a candidate, unless it is trained; returns its metrics."""
    network = NetworkConfig(layers=size.layers)
    channels = equal_channels(cell.genotype, network, size.image_channels, size.target)
    settings = {**size.training, "network.channels": channels}
    training = Training(cell.genotype, size.preset, settings)
    folder = options.out / f"{methods.folder_name(name)}-{seed}"
    job = training.job(folder, seed, options.data_dir)
    summary = methods.finish(name, seed, job).summary
    return {
        "method": name,
        "seed": seed,
        "test_error": summary["test_error_last"],
        "params": summary["params"],
        "genotype": cell.genotype.format(),
        "seconds": summary["seconds"],
        "search_seconds": cell.search_seconds,
        "candidate_images": cell.candidate_images,
    }


def make_rows(runs: list[dict]) -> list[list]:
    """Rows of the record, one for each method and control.

    Args:
      runs: results of `train`.
    """
    groups: dict[str, list[dict]] = {}
    for run in runs:
        groups.setdefault(run["method"], []).append(run)
    controls = ([run["test_error"] for run in groups[name]] for name in CONTROLS)
    chance = [statistics.fmean(errors) for errors in zip(*controls, strict=True)]
    # Bonferroni: all intervals of differences hold at once, 95 times of 100
    level = 1 - 0.05 / (len(groups) - len(CONTROLS))
    return [
        make_row(name, group, None if name in CONTROLS else chance, level)
        for name, group in groups.items()
    ]


def make_row(
    name: str, group: list[dict], chance: list[float] | None, level: float
) -> list:
    """The row of one method.

    Args:
      name: of the method.
      group: its results of `train`, seed by seed.
      chance: mean error of random cells, seed by seed; None for a control.
      level: of the interval of the difference from chance.
    """
    errors, comparison = [run["test_error"] for run in group], (None, None)
    if chance is not None:
        differences = [a - b for a, b in zip(errors, chance, strict=True)]
        comparison = (
            record_tables.interval(differences, 100, level),
            record_tables.verdict(differences, level),
        )
    weights = [run["params"] for run in group]
    return [
        name,
        record_tables.cell(errors, 100),
        record_tables.interval(errors, 100),
        *comparison,
        f"{min(weights):,} to {max(weights):,}",
        sum(run["candidate_images"] for run in group) / len(group),
    ]


def has_races(options: argparse.Namespace) -> bool:
    """Whether EG-NAS lets its individuals race for fitness batches."""
    settings = assignments(options.egnas_settings)
    return settings.get("strategy.fitness_batches") == "auto"


def make_table(options: argparse.Namespace, runs: list[dict]) -> dict:
    """The record without its command."""
    races = ", with races for fitness batches" if has_races(options) else ""
    return {
        "title": f"Search against chance{races}",
        "rows": make_rows(runs),
        "columns": [
            "method",
            "test error (%)",
            "95 % interval",
            "minus both random cells: interval (points)",
            "verdict",
            "weights",
            record_tables.column("candidate images", 0),
        ],
        "claim": "Are the cells that a search finds better than random ones?",
        "seconds": sum(run["seconds"] + run["search_seconds"] for run in runs),
        "note": "Each seed's cell trained from scratch at about equal numbers of "
        "weights, after searches of equal weight steps. An alpha that never moved "
        "draws cells as random ones are drawn, so that each seed has two; intervals of "
        "differences from their mean hold for all methods together, 95 times of 100 "
        f"(Bonferroni). {forks.describe_images(options)}",
    }


def main(arguments: list[str] | None = None) -> None:
    """Searches and trains with every seed, and writes the record."""
    parser = forks.make_parser(__doc__, None)
    forks.add_settings(parser, "--egnas-set", "egnas_settings", "EG-NAS searches")
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    try:
        check(options, size)
    except ValueError as error:
        parser.error(str(error))
    runs = [
        train(options, size, name, seed, cell)
        for seed in range(options.seeds or size.seeds)
        for name, cell in candidates(options, size, seed).items()
    ]
    extra = [f"--egnas-set {setting}" for setting in options.egnas_settings]
    kind = "races" if has_races(options) else ""
    table = make_table(options, runs)
    forks.write(options, "chance", table, runs, extra=extra, kind=kind)


if __name__ == "__main__":
    main()
