"""Judges the variant `revised` of EG-NAS by cells that searches on images find.

`revised`, random search, ageing evolution and DARTS search at equal weight steps and
about equal forward passes for the choice of a cell (a backward pass counts 2, see
search/cost.py); a random cell needs no search. Each seed's cells are trained from
scratch at about equal numbers of weights, and the test error of `revised` is compared
with that of each other, paired by seed and under one correction (Holm). One more search
is `revised` whose individuals do not race: one batch of as many images takes the place
of the races, which a table has no use for.

The variant was developed on the table of NAS-Bench-201 (revised.py says how); digits
only showed that it runs, so that the size tiny is no judgement, and its CIFAR-10 is.

Searches and trainings are carried out in pieces of any length: each call goes on where
the last one ended, even where that was killed, and says how far it came. The last one
writes the record and ends with exit code 0, those before it with 130.

Command: python experiments/revised_supernet.py --size small --data-dir DIR --out OUT
  --minutes M or --epochs-now N ends this piece.
"""

import argparse
import json
from typing import NamedTuple

import forks
import methods
import pieces
import random_cells
import record_tables
import subset
from methods import Job, Method, Training
from revised import REVISED, verdict

from egnas_jax import Genotype, NetworkConfig
from egnas_jax.settings import assignments
from egnas_jax.studies.statistics import compare_with

ONE_BATCH = "revised but one batch"
CHANCE = "random cells"


class Size(NamedTuple):
    """How large searches and trainings are.

    Attributes:
      preset: of all.
      images: training images of a subset; 0 for the whole data set.
      search: settings of all searches.
      own: method -> its settings, which make the costs about equal.
      training: settings of all trainings.
      network: layers of the trained network, channels of an image, and about how many
        weights it has.
      seeds: default number of seeds.
    """

    preset: str
    images: int
    search: dict
    own: dict[str, dict]
    training: dict
    network: tuple[int, int, int]
    seeds: int


def _one_batch(images: int, **more) -> dict:
    names = dict(fitness_batches=1, fitness_batch_size=images, **more)
    return {f"strategy.{name}": value for name, value in names.items()}


def _ageing(population: int, generations: int, final_batches: int, **more) -> dict:
    names = dict(population=population, tournament=population // 4)
    names |= dict(generations=generations, final_batches=final_batches, **more)
    return {f"strategy.{name}": value for name, value in names.items()}


SIZES = {
    # 12,672 forward passes of an image to choose: 66 steps of DARTS on 64 images
    "tiny": Size(
        preset="digits",
        images=0,
        search={k: v for k, v in forks.TINY.items() if not k.startswith("strategy.")},
        own={
            REVISED: {
                "strategy.warmup": 1,
                "strategy.population": 8,
                "strategy.fitness_batch_size": 16,
                "strategy.race.budget": 17,
            },
            ONE_BATCH: _one_batch(282, warmup=1, population=8),
            "random_search": {
                "strategy.candidates": 32,
                "strategy.fitness_batch_size": 64,
            },
            "ageing_evolution": _ageing(16, 15, 12, children=8, finalists=5),
            "darts": {"strategy.batch_size": 64},
        },
        training={"network.layers": 2, "epochs": 8},
        network=(2, 1, 15_000),
        seeds=3,
    ),
    # 180,000: 1,200 steps of DARTS on 50 images
    "small": Size(
        preset="cifar10",
        images=5_000,
        search={
            "supernet.channels": 8,
            "supernet.layers": 5,
            "batch_size": 50,
            "learning_rate": 0.05,
            "epochs": 24,
        },
        own={
            REVISED: {
                "strategy.warmup": 6,
                "strategy.population": 16,
                "strategy.race.budget": 18,
            },
            ONE_BATCH: _one_batch(588, warmup=6, population=16),
            "random_search": {"strategy.candidates": 58},
            "ageing_evolution": _ageing(48, 72, 20, fitness_batch_size=128),
            "darts": {"strategy.batch_size": 50},
        },
        training=forks.CIFAR10_SMALL_TRAINING,
        network=(5, 3, 60_000),
        seeds=3,
    ),
    # 931,200: 4,850 steps of DARTS on 64 images
    "full": Size(
        preset="cifar10",
        images=0,
        search={},
        own={
            REVISED: {"strategy.population": 16, "strategy.race.budget": 49},
            ONE_BATCH: _one_batch(1_565, population=16),
            "random_search": {"strategy.candidates": 145},
            "ageing_evolution": _ageing(100, 76, 49),
            "darts": {},
        },
        training={},
        network=(20, 3, 3_349_342),
        seeds=4,
    ),
}


def search_jobs(
    options: argparse.Namespace, size: Size, source: subset.Source
) -> dict[str, list[Job]]:
    """Method -> its searches, seed by seed.

    Raises:
      ValueError: a setting that a search does not have.
    """
    jobs = {}
    for name, own in size.own.items():
        is_variant = name in (REVISED, ONE_BATCH)
        variant, strategy = (REVISED, "egnas") if is_variant else (None, name)
        settings = {**size.search, **own, **assignments(options.settings)}
        method = Method(size.preset, strategy, variant, settings=settings)
        method = method.with_settings(source.settings)
        folder = f"search-{methods.folder_name(name)}"
        jobs[name] = [
            method.job(options.out / f"{folder}-{seed}", seed, source.data_dir)
            for seed in range(options.seeds or size.seeds)
        ]
    return jobs


def train_jobs(
    options: argparse.Namespace,
    size: Size,
    source: subset.Source,
    cells: dict[str, list[Genotype]],
) -> dict[str, list[Job]]:
    """Method -> the trainings of its cells, seed by seed, at equal numbers of weights.

    Args:
      options, size, source: see `search_jobs`.
      cells: method -> the cell of each seed.
    """
    layers, image_channels, weights = size.network
    network, jobs = NetworkConfig(layers=layers), {}
    for name, found in cells.items():
        jobs[name] = []
        for seed, cell in enumerate(found):
            channels = random_cells.equal_channels(
                cell, network, image_channels, weights
            )
            settings = {**size.training, "network.channels": channels}
            training = Training(cell, size.preset, {**settings, **source.settings})
            folder = options.out / f"train-{methods.folder_name(name)}-{seed}"
            jobs[name].append(training.job(folder, seed, source.data_dir))
    return jobs


def carry(jobs: dict[str, list[Job]], left: pieces.Limits) -> pieces.Limits:
    """Carries jobs forward, seed by seed, and says how far they are.

    Raises:
      SystemExit: the piece ended before all of them did.
    """
    in_turn = [job for group in zip(*jobs.values(), strict=True) for job in group]
    left = pieces.carry(in_turn, left)
    print(pieces.progress(in_turn), end="")
    if not pieces.all_ended(in_turn):
        raise SystemExit(pieces.INTERRUPTED)
    return left


def cells_of(searches: dict[str, list[Job]]) -> dict[str, list[Genotype]]:
    """Method -> the cell of each seed; chance draws one that no search found."""
    cells = {
        name: [Genotype.parse(pieces.summary_of(job)["genotype"]) for job in jobs]
        for name, jobs in searches.items()
    }
    seeds = range(len(cells[REVISED]))
    return {**cells, CHANCE: [random_cells.random_genotype(seed) for seed in seeds]}


def make_rows(
    searches: dict[str, list[Job]], trainings: dict[str, list[Job]]
) -> list[list]:
    """Rows of the record: errors, comparison with the variant, and costs."""
    errors = {
        name: [100 * pieces.summary_of(job)["test_error_last"] for job in jobs]
        for name, jobs in trainings.items()
    }
    groups = {name: dict(enumerate(values)) for name, values in errors.items()}
    compared = {one.first: one for one in compare_with(REVISED, groups)}
    rows = []
    for name, values in errors.items():
        one, comparison = compared.get(name), [None, None]
        if one is not None:
            known = one.low is not None
            interval = f"{one.low:.2f} to {one.high:.2f}" if known else None
            comparison = [interval, verdict(one)]
        rows.append(
            [
                name,
                record_tables.cell(values),
                *comparison,
                *mean_costs(searches.get(name, [])),
            ]
        )
    return rows


def mean_costs(jobs: list[Job]) -> list[float | None]:
    """Forward passes of an image of a search: of its weights, and of its choice."""
    if not jobs:
        return [0, 0]
    summaries = [pieces.summary_of(job) for job in jobs]
    return [
        sum(summary[name] for summary in summaries) / len(summaries)
        for name in ("weight_cost", "search_cost")
    ]


def make_table(
    size: Size,
    searches: dict[str, list[Job]],
    trainings: dict[str, list[Job]],
) -> dict:
    """The record without its command."""
    ended = [job for jobs in (*searches.values(), *trainings.values()) for job in jobs]
    images = forks.DIGITS if size.preset == "digits" else "CIFAR-10"
    if size.images:
        images = f"{size.images:,} images of {images}"
    role = "whose table the development saw"
    if size.preset == "digits":
        role = "to show that it runs"
    return {
        "title": "The variant revised, judged by trained cells",
        "claim": "Are the cells of revised better than those of other searches at "
        "equal cost?",
        "columns": [
            "method",
            record_tables.column("test error (%)"),
            "minus revised: interval (points)",
            "verdict",
            record_tables.column("passes for weights", 0),
            record_tables.column("passes for the choice", 0),
        ],
        "rows": make_rows(searches, trainings),
        "seconds": sum(pieces.summary_of(job)["seconds"] for job in ended),
        "note": f"On {images}, {role}. Each seed's cell is trained from scratch at "
        f"about {size.network[2]:,} weights; last epoch, mean ± standard deviation "
        "over seeds. Intervals are of paired t tests over seeds under one correction "
        f"(Holm). {record_tables.PASSES}",
    }


def main(arguments: list[str] | None = None) -> None:
    """Carries all runs forward; writes the record when they have ended."""
    parser = forks.make_parser(__doc__, None)
    pieces.add_limits(parser)
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    try:
        forks.check_images(options.settings)
        source = subset.locate(options.data_dir, options.out, size.images)
        searches = search_jobs(options, size, source)
        left = pieces.begin(options)
    except ValueError as error:
        parser.error(str(error))
    left = carry(searches, left)
    trainings = train_jobs(options, size, source, cells_of(searches))
    carry(trainings, left)
    table = make_table(size, searches, trainings)
    details = {
        job.folder.name: json.loads((job.folder / "summary.json").read_text())
        for jobs in (*searches.values(), *trainings.values())
        for job in jobs
    }
    forks.write(options, "revised_supernet", table, details)


if __name__ == "__main__":
    main()
