"""Describes the searches and trainings behind Table 2 of the report."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import forks
import pieces
import random_cells
import subset
from methods import Job, Method, Training

import egnas_jax as eg
from egnas_jax.cli.console import read_genotype
from egnas_jax.settings import assignments
from egnas_jax.storage import records

# name, number of classes, channels of an image
IMAGES = {
    "digits": (forks.DIGITS, 10, 1),
    "cifar10": ("CIFAR-10", 10, 3),
    "cifar100": ("CIFAR-100", 100, 3),
}


class Size(NamedTuple):
    """How large searches and trainings are.

    Attributes:
      preset: of both.
      search, train: settings of every search and of every training.
      images: training images of a subset; 0 for the whole data set.
      searches, seeds: default numbers of searches and of trainings of each cell.
    """

    preset: str
    search: dict
    train: dict
    images: int
    searches: int
    seeds: int


SIZES = {
    "tiny": Size(
        preset="digits",
        search={**forks.TINY_EGNAS, "strategy.warmup": 3},
        train={"network.layers": 2, "epochs": 8},
        images=0,
        searches=2,
        seeds=2,
    ),
    "small": Size(
        preset="cifar10",
        search={**forks.CIFAR10_SMALL, "epochs": 24},
        train={**forks.CIFAR10_SMALL_TRAINING, "network.channels": 8},
        images=5_000,
        searches=2,
        seeds=3,
    ),
    "full": Size("cifar10", search={}, train={}, images=0, searches=4, seeds=4),
}


class Cell(NamedTuple):
    """The cell of the table, and what is known of its search.

    Attributes:
      genotype: the cell.
      settings: those of its training that keep the search's images out of the test.
      search_seconds: duration of the search, if known.
    """

    genotype: eg.Genotype
    settings: dict
    search_seconds: float | None = None


class Jobs(NamedTuple):
    """The runs behind the table.

    Attributes:
      searches: that a cell is chosen from; none where it is given.
      found: trainings of the cell, seed by seed.
      random: trainings of random cells, seed by seed.
    """

    searches: list[Job]
    found: list[Job]
    random: list[Job]


def search_jobs(
    options: argparse.Namespace, size: Size, source: subset.Source
) -> list[Job]:
    """The searches that a cell is chosen from; none where it is given.

    Raises:
      ValueError: a setting that a search does not have.
    """
    if options.genotype is not None:
        return []
    changes = assignments(options.settings)
    settings = {**size.search, **changes, **source.settings}
    method = Method(size.preset, variant=options.variant, settings=settings)
    return [
        method.job(options.out / f"search{seed}", seed, source.data_dir)
        for seed in range(size.searches)
    ]


def best_of(searches: Sequence[Job]) -> Job:
    """The finished search whose supernet has the highest validation accuracy."""
    return max(searches, key=lambda job: pieces.summary_of(job)["valid_accuracy"])


def read_cell(source: str | pathlib.Path) -> Cell:
    """A cell by any of its names; of a run directory, with what is known of the run.

    Raises:
      ValueError: there is no such cell.
    """
    genotype = read_genotype(str(source))
    if len(str(source)) >= 256 or not pathlib.Path(source).is_dir():
        return Cell(genotype, {})
    config, summary = (
        records.read_object(path) if path.exists() else {}
        for path in (
            pathlib.Path(source) / "config.json",
            pathlib.Path(source) / "summary.json",
        )
    )
    seed = config.get("split_seed", config.get("seed"))
    return Cell(
        genotype,
        {} if seed is None else {"split_seed": seed},
        summary.get("search_seconds", summary.get("seconds")),
    )


def train_jobs(
    options: argparse.Namespace, size: Size, source: subset.Source, cell: Cell
) -> tuple[list[Job], list[Job]]:
    """A training of the cell and one of a random cell for every seed.

    Raises:
      ValueError: a setting that a training does not have.
    """
    changes = assignments(options.train)
    settings = {**size.train, **changes, **source.settings}
    training = Training(
        cell.genotype,
        size.preset,
        {**cell.settings, **settings},
        cell.search_seconds,
    )
    _, num_classes, image_channels = IMAGES[size.preset]
    network = training.config().network
    network = dataclasses.replace(network, num_classes=num_classes)
    weights = eg.count_params(cell.genotype, network, image_channels=image_channels)
    found, random = [], []
    for seed in range(size.seeds):
        folder = options.out / f"seed{seed}"
        found.append(training.job(folder, seed, source.data_dir))
        other = random_cells.random_genotype(seed)
        channels = random_cells.equal_channels(other, network, image_channels, weights)
        baseline = Training(
            other, size.preset, {**settings, "network.channels": channels}
        )
        folder = options.out / f"random{seed}"
        random.append(baseline.job(folder, seed, source.data_dir))
    return found, random
