"""Describes the searches and trainings behind ten_systems.py, row by row.

A row "as published" takes the space, the supernet, the schedule and the options that
the method's published code has, as far as settings reach them; docs/methods.md lists
what they do not reach. Epochs, batches, rates and populations stay those of the size,
and so do the added layers of P-DARTS. The training of the cells is that of all rows.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pieces
import subset
from methods import Job, Method, Settings, Training
from random_cells import (
    equal_channels,
    initial_genotype,
    largest_genotype,
    random_genotype,
)
from ten_systems_sizes import SHARED, Size

import egnas_jax as eg
from egnas_jax.settings import assignments
from egnas_jax.strategies import STRATEGIES

# with which all others are compared
CONTROL, RANDOM_CELLS = "random_search", "random cells"
COMMON, PUBLISHED = "common", "as published"
SETTINGS = {"common": (COMMON,), "published": (PUBLISHED,), "both": (COMMON, PUBLISHED)}


class Quoted(NamedTuple):
    """What a method is called, and its published figure.

    Attributes:
      label: in the table.
      error: test error on CIFAR-10 in percent, as papers print it; "*": read off a
        figure, or found in no source that could be opened.
    """

    label: str
    error: str | None = None


# a method that is not listed is called by its name
QUOTED = {
    "egnas": Quoted("EG-NAS", "2.53"),
    "random_search": Quoted("random search"),
    "darts": Quoted("DARTS", "3.00 ± 0.14; 2.76 ± 0.09 by the second order"),
    "pc_darts": Quoted("PC-DARTS", "2.57 ± 0.07"),
    "p_darts": Quoted("P-DARTS", "2.50"),
    "snas": Quoted("SNAS", "2.85 ± 0.02"),
    "enas": Quoted("ENAS", "2.89"),
    "nasnet_ppo": Quoted("NASNet-A-style (PPO) on the DARTS space", "2.65"),
    "ageing_evolution": Quoted("AmoebaNet-B-style ageing evolution", "2.55 ± 0.05"),
    "nsga2": Quoted("NSGANetV1-A2-style NSGA-II", "2.65 *"),
    "epcnas_pso": Quoted("EPCNAS-style PSO on the DARTS space", "above 2.8 *"),
}

_DARTS8: Settings = {"supernet.pool_bn": True, "supernet.partial_channels": 1}
_NEXT_RATE: Settings = {"schedule.learning_rate_epoch": "next"}
# halves of the training images as they lie in the file, also in the file of a subset,
# which keeps their order
_IN_FILE_ORDER: Settings = {
    **_DARTS8,
    **_NEXT_RATE,
    "schedule.split": "file_order",
    "schedule.augment_valid": True,
}


class Published(NamedTuple):
    """What a method was published with, where that differs from the common setting.

    Attributes:
      settings: that differ.
      space, variant: see `Method`.
    """

    settings: Settings
    space: str | None = "darts8"
    variant: str | None = None


# The originals of ageing evolution (AmoebaNet), NASNet, NSGA-II (NSGA-Net) and the
# swarm (EPCNAS) train every cell from scratch: they have no supernet, so no row of one
# can be as published. Random search with shared weights is the control, in one setting.
# SNAS trains on all images and validates on the test set, so it has no halves.
AS_PUBLISHED = {
    # its code runs the evolution strategy for one generation; sizes have more
    "egnas": Published({"strategy.generations": 1}, space=None, variant="official"),
    "darts": Published(
        {**_IN_FILE_ORDER, "strategy.second_order": "finite_difference"}
    ),
    "pc_darts": Published({**_IN_FILE_ORDER, "supernet.partial_channels": 4}),
    # its stages, skip dropout, limit of skips and batches without replacement are in
    # both rows
    "p_darts": Published(_IN_FILE_ORDER),
    "snas": Published(
        {
            **_DARTS8,
            **_NEXT_RATE,
            "strategy.alpha_optimizer": "sgd",
            "strategy.resource_penalty": 1.5e-3,
            "strategy.resource_cells": "six_and_two",
            "strategy.drop_path": 0.3,
            "strategy.derive": "edge_all",
        }
    ),
    # its code never clips; a batch of its own for each cell is in both rows
    "enas": Published({"supernet.partial_channels": 1, "clip_norm": 1e12}, space=None),
}
# name -> (seed, cells that random search ranks in an epoch) -> a cell that no search
# found
UNSEARCHED: dict[str, Callable[[int, int], eg.Genotype]] = {
    RANDOM_CELLS: lambda seed, number: random_genotype(seed),
    "untrained alpha": lambda seed, number: initial_genotype(seed),
    "largest of random cells": largest_genotype,
}


class Row(NamedTuple):
    """A row of the table.

    Attributes:
      name: of a method, or of a control of `UNSEARCHED`.
      setting: "common" or "as published"; None for a control.
    """

    name: str
    setting: str | None = None

    @property
    def label(self) -> str:
        """What the row is called."""
        return QUOTED.get(self.name, Quoted(self.name)).label

    def folder(self, kind: str, seed: int) -> str:
        """Name of the directory of a run."""
        words = [kind, self.name, *([] if self.setting == COMMON else [self.setting])]
        return "-".join([*filter(None, words), str(seed)]).replace(" ", "_")


class Run(NamedTuple):
    """A search or a training, and the row that it is for."""

    row: Row
    seed: int
    job: Job


def rows_of(options: argparse.Namespace) -> list[Row]:
    """The rows that the command line asks for, controls last."""
    names = dict.fromkeys(options.methods or sorted(STRATEGIES))
    rows = [
        Row(name, setting)
        for name in names
        for setting in SETTINGS[options.settings_of]
        # everything is compared with the common row of the control
        if setting == COMMON or name in AS_PUBLISHED
    ]
    control = Row(CONTROL, COMMON)
    return [
        *([] if control in rows else [control]),
        *rows,
        *(Row(name) for name in UNSEARCHED),
    ]


def method_of(row: Row, size: Size) -> Method:
    """The search of a row, without settings of the command line."""
    own = {**size.search, **SHARED.get(row.name, {}), **size.own.get(row.name, {})}
    if row.setting == COMMON:
        return Method(size.preset, row.name, settings=own)
    published = AS_PUBLISHED[row.name]
    return Method(
        size.preset,
        row.name,
        variant=published.variant,
        space=published.space,
        settings={**own, **published.settings, **size.published.get(row.name, {})},
    )


def search_runs(
    options: argparse.Namespace, size: Size, source: subset.Source
) -> list[Run]:
    """Every search, seed by seed.

    Raises:
      ValueError: a setting that a search does not have.
    """
    changes = {**assignments(options.settings), **source.settings}
    runs = []
    for seed in range(options.seeds or size.seeds):
        for row in rows_of(options):
            if row.setting is not None:
                method = method_of(row, size).with_settings(changes)
                folder = options.out / row.folder("search", seed)
                runs.append(Run(row, seed, method.job(folder, seed, source.data_dir)))
    return runs


def train_runs(
    options: argparse.Namespace,
    size: Size,
    source: subset.Source,
    searches: Sequence[Run],
) -> list[Run]:
    """A training of every cell: of searches that have ended, and of controls.

    All have one recipe and about equally many weights, and are tested on images that
    the searches of their seed did not see.

    Raises:
      ValueError: a setting that a training does not have.
    """
    cells = [
        (run.row, run.seed, eg.Genotype.parse(summary["genotype"]))
        for run in searches
        if (summary := pieces.summary_of(run.job))
    ]
    number = size.own[CONTROL]["strategy.candidates"]
    cells += [
        (Row(name), seed, draw(seed, number))
        for seed in range(options.seeds or size.seeds)
        for name, draw in UNSEARCHED.items()
    ]
    changes = {**assignments(options.train), **source.settings}
    return [
        _training(options, size, changes, source.data_dir, cell)
        for cell in sorted(cells, key=lambda cell: cell[1])
    ]


def _training(options, size: Size, changes: Settings, data_dir, cell) -> Run:
    row, seed, genotype = cell
    settings = {**size.train, "split_seed": seed, **changes}
    network = Training(genotype, size.preset, settings).config().network
    channels = equal_channels(genotype, network, size.image_channels, size.target)
    settings = {"network.channels": channels, **settings}
    training = Training(genotype, size.preset, settings)
    folder = options.out / row.folder("train", seed)
    return Run(row, seed, training.job(folder, seed, data_dir))
