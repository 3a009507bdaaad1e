"""Measures how much of a fitness is noise, on many validation batches.

EG-NAS chooses by one fitness batch per exploration. After a search of each seed, the
individuals with which its next exploration would begin are evaluated on many disjoint
batches, under running and under batch statistics. How well does one batch repeat the
ranks of another, and how many batches does it take until ranks repeat?

Command: python experiments/noise.py --size small --data-dir DIR --out OUT
"""

import argparse
import functools
import pathlib
from typing import NamedTuple

import forks
import methods
import record_tables
import subset
from methods import Method, Outcome

from egnas_jax.cli.console import say
from egnas_jax.search.evaluate import STATISTICS
from egnas_jax.settings import assignments
from egnas_jax.studies.noise.study import NoiseRequest, run_study
from egnas_jax.studies.report.page import Figure

METHOD = "search"
TITLE = "How much of the fitness is noise?"
METRICS = {"fitness": "fitness", "cross_entropy": "cross entropy"}
TEXT = (
    "Kendall's tau of the ranks that two disjoint sets of validation batches give "
    "the same individuals; 1: the same, 0: as chance has it. Thin: seeds; thick: "
    "their mean."
)


class Size(NamedTuple):
    """How large searches are, and what is evaluated.

    Attributes:
      method: of all searches.
      images: training images of a subset; 0 for the whole data set.
      individuals: number of individuals that are evaluated.
      seeds: default number of seeds.
    """

    method: Method
    images: int
    individuals: int
    seeds: int


SIZES = {
    "tiny": Size(
        forks.SIZES["tiny"].method.with_settings({"strategy.warmup": 3}),
        images=0,
        individuals=20,
        seeds=3,
    ),
    "small": Size(
        Method("cifar10", settings={**forks.CIFAR10_SMALL, "epochs": 12}),
        images=5_000,
        individuals=50,
        seeds=3,
    ),
    "full": Size(Method("cifar10"), images=0, individuals=50, seeds=3),
}


def run_studies(options: argparse.Namespace) -> tuple[list[Outcome], list[dict]]:
    """Searches with every seed and runs a noise study of each, where they are missing.

    Returns:
      Outcomes of the searches, and the studies' results.

    Raises:
      ValueError: the images are not there.
    """
    size = SIZES[options.size]
    outcomes, data_dir = run_searches(options, size)
    request = NoiseRequest(size=size.individuals)
    key = {"request": request._asdict(), "data_dir": data_dir}
    studies = []
    for outcome in outcomes:
        folder = options.out / f"{METHOD}-{outcome.seed}"
        make = functools.partial(study, folder, data_dir, request)
        studies.append(methods.make_json(folder / "noise.json", key, make))
    return outcomes, studies


def method_of(
    options: argparse.Namespace, size: Size
) -> tuple[methods.Method, subset.Source]:
    """The method of all searches with the settings of the command line, and its images.

    Raises:
      ValueError: the images are not there.
    """
    source = subset.locate(options.data_dir, options.out, size.images)
    method = size.method._replace(variant=options.variant).with_settings(
        {**source.settings, **assignments(options.settings)}
    )
    return method, source


def run_searches(
    options: argparse.Namespace, size: Size
) -> tuple[list[Outcome], str | None]:
    """Searches with every seed, in folders METHOD-SEED, where they are missing.

    Args:
      options: of the command line.
      size: of the searches.

    Returns:
      Their outcomes, and the only place where their images are looked for.

    Raises:
      ValueError: the images are not there.
    """
    method, source = method_of(options, size)
    seeds = options.seeds or size.seeds
    searches = methods.run_all({METHOD: method}, seeds, options.out, source.data_dir)
    return list(searches), source.data_dir


def study(folder: pathlib.Path, data_dir: str | None, request: NoiseRequest) -> dict:
    """Results of a noise study of one search."""
    return run_study(folder, data_dir, request, say).result


def make_row(studies: list[dict], kind: str, metric: str) -> list:
    """The row of one kind of statistics and one metric."""
    results = [study["statistics"][kind][metric] for study in studies]
    shares = [result["variance_share"] for result in results]
    known_cell = record_tables.known_cell
    return [
        f"{METRICS[metric]}, {kind} statistics",
        known_cell([result["kendall"]["mean"] for result in results]),
        known_cell([result["by_batches"][-1]["mean"] for result in results]),
        known_cell([share["candidate"] for share in shares], 100),
        known_cell([share["batch"] for share in shares], 100),
        known_cell([result["same_winner"] for result in results], 100),
        ", ".join(batches_needed(result["batches_for"]) for result in results),
    ]


def batches_needed(goal: dict) -> str:
    """How many batches a study found necessary, in words."""
    if goal["batches"] is None:
        return f"> {goal['measured_up_to']}"
    return f"{goal['batches']:,}"


def plot(studies: list[dict]) -> Figure:
    """Kendall's tau of two sets by the number of batches in each."""
    label = f"batches of {studies[0]['batch_size']} images in a set"
    panels = {metric: (label, f"tau by {name}") for metric, name in METRICS.items()}
    series = {
        (metric, f"{kind} statistics"): {
            f"seed {seed}": [
                (entry["batches"], entry["mean"])
                for entry in study["statistics"][kind][metric]["by_batches"]
                if entry["mean"] is not None
            ]
            for seed, study in enumerate(studies)
        }
        for metric in METRICS
        for kind in STATISTICS
    }
    return forks.plot(TITLE, TEXT, panels, series)


def make_note(options: argparse.Namespace, studies: list[dict], most: int) -> str:
    """The note of the record.

    Args:
      options: of the command line.
      studies: results of all seeds.
      most: number of batches in the largest sets.
    """
    first, size = studies[0], SIZES[options.size]
    tau = record_tables.known_cell(
        [
            study["running_against_batch"]["fitness"]["kendall_on_all"]
            for study in studies
        ]
    )
    alike = f"with a tau of {tau['mean']:.2f}" if tau else "not at all"
    return (
        f"{first['size']} individuals on {first['batches']} batches of "
        f"{first['batch_size']} validation images, after {first['epochs']} epochs. "
        f"{forks.describe_images(options, size.method, size.images)} Variant "
        f"{options.variant}. Mean and standard deviation over seeds. Fitness of "
        f"several batches: one, over all their images. Rank correlation: Spearman's, "
        f"of two such sets; above {most} the batches that the cross entropy needs are "
        f"extrapolated, those that the fitness needs, which is no mean, not known. "
        f"Running and batch statistics rank alike by all batches {alike}."
    )


def make_table(
    options: argparse.Namespace, outcomes: list[Outcome], studies: list[dict]
) -> dict:
    """The record without its command."""
    first = studies[0]
    sets = first["statistics"]["running"]["fitness"]["by_batches"]
    most = sets[-1]["batches"]
    seconds = sum(study["seconds"] for study in studies)
    return {
        "title": TITLE,
        "claim": "Does one fitness batch rank individuals as another one does, and how "
        "many batches does it take?",
        "columns": [
            "ranked by",
            "tau of two batches",
            f"tau of two sets of {most}",
            record_tables.column("variance from the individual (%)", 1),
            record_tables.column("from the batch (%)", 1),
            record_tables.column("same winner on two batches (%)", 0),
            f"batches for a rank correlation of {first['reliability']}, of each seed",
        ],
        "rows": [
            make_row(studies, kind, metric) for metric in METRICS for kind in STATISTICS
        ],
        "seconds": forks.total_seconds(outcomes) + seconds,
        "note": make_note(options, studies, most),
    }


def main(arguments: list[str] | None = None) -> None:
    """Searches, studies every search and writes the record."""
    parser = forks.make_parser(__doc__)
    options = parser.parse_args(arguments)
    try:
        outcomes, studies = run_studies(options)
    except ValueError as error:
        parser.error(str(error))
    table = make_table(options, outcomes, studies)
    forks.write(options, "noise", table, studies, figure=plot(studies))


if __name__ == "__main__":
    main()
