"""Runs searches that fork from one warm start per seed: what the ablations share.

The epochs before the first update of alpha do not depend on how alpha is updated. They
are run once per seed, and every fork goes on from that state, bit for bit. So forks
differ in their own settings alone, and are compared seed by seed.
"""

import argparse
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import command_line
import methods
import numpy as np
import results
from methods import Job, Method, Outcome, Settings

from egnas_jax.settings import assignments
from egnas_jax.strategies.egnas import weight_grid
from egnas_jax.strategies.egnas.variants import VARIANTS
from egnas_jax.studies.report.curves import FigureData, Row, bands
from egnas_jax.studies.report.draw import draw_lines
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.write import as_figure


class Size(NamedTuple):
    """How large the searches of an experiment are.

    Attributes:
      method: preset and settings of all searches.
      warmup: epochs that all forks of a seed share.
      seeds: default number of seeds.
    """

    method: Method
    warmup: int
    seeds: int


# The smaller sizes leave out two properties of the published code that make a weight
# step take several times as long to compile: alpha's part in the clipped norm, and the
# short last batch of an epoch.
LIGHT = {"schedule.alpha_in_clip": False, "schedule.last_batch": "drop"}
LIGHT_NOTE = " Alpha takes no part in the clipped norm, short last batches are dropped."
DIGITS = "scikit-learn's digits (1,438 images of 8 x 8, and 359 to test)"
TINY = {
    "supernet.channels": 4,
    "supernet.layers": 2,
    "batch_size": 64,
    "learning_rate": 0.05,
    "epochs": 6,
    "strategy.fitness_batch_size": 64,
}
TINY_EGNAS = {**TINY, **LIGHT, "strategy.population": 8, "strategy.samples": 1}
# for a subset of CIFAR-10
CIFAR10_SMALL = {
    "supernet.channels": 8,
    "supernet.layers": 5,
    "batch_size": 50,
    "learning_rate": 0.05,
    "strategy.warmup": 6,
    "strategy.samples": 2,
    **LIGHT,
}
# and of a training of what they find
CIFAR10_SMALL_TRAINING = {
    "network.layers": 5,
    "network.auxiliary": False,
    "network.drop_path": 0.1,
    "epochs": 12,
    "evaluate_every": 4,
    "batch_size": 50,
    "learning_rate": 0.05,
}
SIZES = {
    "tiny": Size(Method(settings=TINY_EGNAS), warmup=3, seeds=2),
    "small": Size(Method(settings={**LIGHT, "epochs": 16}), warmup=8, seeds=3),
    "full": Size(Method("cifar10"), warmup=15, seeds=3),
}


def make_parser(
    text: str, variant: str | None = "reproduction"
) -> argparse.ArgumentParser:
    """The parser of an ablation.

    Args:
      text: docstring of the experiment.
      variant: default variant of EG-NAS; None where the experiment chooses it.
    """
    parser = command_line.make_parser(text)
    add = parser.add_argument
    sizes = "tiny: minutes; small: an hour on 2 cores; full: a GPU"
    add("--size", choices=SIZES, default="small", help=sizes)
    if variant is not None:
        names = "of EG-NAS (%(default)s)"
        add("--variant", default=variant, choices=VARIANTS, help=names)
    add("--seeds", type=command_line.positive, help="how many (the size's)")
    place = "the only place to look for the data set"
    add("--data-dir", type=command_line.absolute_text, help=place)
    add_settings(parser, "--set", "settings", "searches")
    return parser


def add_settings(
    parser: argparse.ArgumentParser, option: str, name: str, what: str
) -> None:
    """Adds a repeatable PATH=VALUE option."""
    parser.add_argument(
        option,
        action="append",
        default=[],
        dest=name,
        metavar="PATH=VALUE",
        type=command_line.setting,
        help=f"change one setting of all {what}",
    )


def parse_similarity(
    parser: argparse.ArgumentParser, arguments: list[str] | None
) -> argparse.Namespace:
    """The options of an experiment on the weight of the similarity, eta.

    Args:
      parser: of `make_parser`, whose errors end the process.
      arguments: of the command line.
    """
    options = parser.parse_args(arguments)
    if VARIANTS[options.variant].get("sign") == "off":
        parser.error(
            f"the fitness of --variant {options.variant} has no similarity, which eta "
            f"weighs; choose another variant"
        )
    return options


def check_images(settings: Sequence[str]) -> None:
    """Refuses settings that would change the images of a size, or which are tested.

    Args:
      settings: PATH=VALUE, of searches and of trainings.

    Raises:
      ValueError: one does.
    """
    for setting in settings:
        if setting.startswith(("data.path=", "data.name=", "split_seed=")):
            raise ValueError(
                f"{setting}: searches and trainings share the images of the size. "
                f"Leave it out."
            )


def describe_images(
    options: argparse.Namespace, method: Method | None = None, num_images: int = 0
) -> str:
    """Says in a note on which images searches ran, and what they left out.

    Args:
      options: of `make_parser`.
      method: of the searches; None for that of the size.
      num_images: training images of a subset; 0 for the whole data set.
    """
    method = method or SIZES[options.size].method
    changes = assignments(options.settings)
    name = DIGITS if method.preset == "digits_large" else "CIFAR-10"
    if num_images:
        name = f"{num_images:,} images of {name}"
    if changes.keys() & {"data.path", "data.name"}:
        name = "images that are not the size's"
    return f"Ours on {name}.{left_out({**method.settings, **changes})}"


def left_out(settings: Settings) -> str:
    """What searches with these settings leave out, as a sentence of a note."""
    texts = {path: str(value).lower() for path, value in settings.items()}
    light = {path: str(value).lower() for path, value in LIGHT.items()}
    return LIGHT_NOTE if light.items() <= texts.items() else ""


def warm_starts(
    options: argparse.Namespace, batched: str | int = "off"
) -> list[pathlib.Path]:
    """Runs the warm start of every seed; returns the run directories.

    Args:
      options: of `make_parser`.
      batched: how many run at a time, see `egnas_jax.run_searches`.
    """
    size = SIZES[options.size]
    jobs = [
        _job(options, options.out / f"warm_start-{seed}", seed)
        for seed in range(options.seeds or size.seeds)
    ]
    jobs = [job._replace(stop_after=size.warmup) for job in jobs]
    searches = [("warm start", seed, job) for seed, job in enumerate(jobs)]
    methods.finish_all(searches, batched)
    return [job.folder for job in jobs]


def run(
    forks: Mapping[str, Settings],
    options: argparse.Namespace,
    batched: str | int = "off",
) -> list[Outcome]:
    """Runs every fork from every seed's warm start, in folders FORK-SEED of --out.

    Args:
      forks: name -> settings that differ from the warm start's.
      options: of `make_parser`.
      batched: how many run at a time, see `egnas_jax.run_searches`.
    """
    searches = []
    for seed, warm in enumerate(warm_starts(options, batched)):
        for name, changes in forks.items():
            job = _job(options, options.out / f"{name}-{seed}", seed, changes)
            searches.append((name, seed, job._replace(restore=warm)))
    return methods.finish_all(searches, batched)


def _job(
    options, folder: pathlib.Path, seed: int, changes: Settings = methods.NOTHING
) -> Job:
    """A search with what all forks of a seed share, and some changes.

    It notes the choices of all weightings, unless individuals race: those see unlike
    numbers of images.
    """
    size = SIZES[options.size]
    changes = {
        "strategy.warmup": size.warmup,
        **assignments(options.settings),
        **changes,
    }
    method = size.method._replace(variant=options.variant).with_settings(changes)
    if method.config().strategy.fitness_batches != "auto":
        method = method.with_settings({"strategy.weight_grid": True, **changes})
    return method.job(folder, seed, options.data_dir)


def values_of(
    outcomes: Sequence[Outcome], name: str, metric: Callable[[Outcome], float]
) -> list[float]:
    """A metric of one fork, seed by seed."""
    return [metric(outcome) for outcome in outcomes if outcome.method == name]


def accuracy(outcome: Outcome) -> float:
    """Validation accuracy of the supernet after the last epoch, a fraction."""
    return outcome.summary["valid_accuracy"]


def agreement(outcomes: Sequence[Outcome]) -> np.ndarray | None:
    """How often every two pairs of the report's weights chose the same individual.

    Args:
      outcomes: of searches; all their populations count.

    Returns:
      Fractions, f64[16, 16], as `weight_grid.PAIRS` orders them; None where no choice
      was noted.
    """
    chosen = [
        record["grid_chosen"]
        for outcome in outcomes
        for record in outcome.epochs
        if record.get("candidate_images") and "grid_chosen" in record
    ]
    return weight_grid.agreement(np.concatenate(chosen)) if chosen else None


def describe_agreement(matrix: np.ndarray | None) -> str:
    """The mean of `agreement` over pairs that differ in zeta / eta, as a sentence."""
    if matrix is None:
        return ""
    ratios = np.array([weight_grid.ratio(pair) for pair in weight_grid.PAIRS])
    apart = matrix[ratios[:, None] != ratios[None]]
    return (
        f" In the populations that the runs evaluated, the first of which are alike in "
        f"all runs of a seed, two weightings of the report that differ in zeta / eta "
        f"choose the same individual in {100 * apart.mean():.0f} "
        f"% ({100 * apart.min():.0f} to {100 * apart.max():.0f})."
    )


def agreement_details(matrix: np.ndarray | None) -> dict[str, Any]:
    """The matrix of `agreement` for an experiment's details."""
    pairs = [f"{zeta},{eta}" for zeta, eta in weight_grid.PAIRS]
    return {"pairs": pairs, "agreement": matrix}


def total_seconds(outcomes: Sequence[Outcome]) -> float:
    """Seconds of all epochs that were run.

    The records of a fork begin with those of its warm start, which count once.
    """
    warm = {
        (outcome.seed, record["epoch"]): record["seconds"]
        for outcome in outcomes
        for record in outcome.epochs[: outcome.taken_over]
    }
    own = [
        record["seconds"]
        for outcome in outcomes
        for record in outcome.epochs[outcome.taken_over :]
    ]
    return sum(warm.values()) + sum(own)


def seconds_per_epoch(outcome: Outcome) -> float:
    """Median seconds of the epochs with an exploration, which compile nothing."""
    return statistics.median(
        record["seconds"] for record in outcome.epochs if record.get("candidate_images")
    )


Series = Mapping[tuple[str, str], Mapping[str, Sequence[tuple[float, float]]]]


def plot(title: str, text: str, panels: dict, series: Series) -> Figure:
    """A figure of lines, thin for seeds and thick for their mean.

    Args:
      title, text: its title and caption.
      panels: panel -> labels of its axes.
      series: (panel, group) -> run -> its (x, y).
    """
    rows = []
    for (panel, group), runs in series.items():
        rows += [
            Row(panel, group, run, *point)
            for run, points in runs.items()
            for point in points
        ]
        rows += bands(panel, group, [list(points) for points in runs.values()])
    data = FigureData(title.lower().replace(" ", "_"), title, text, panels, rows)
    return as_figure(data, draw_lines(data))


def write(
    options: argparse.Namespace,
    name: str,
    table: dict,
    details: object,
    *,
    extra: Sequence[str] = (),
    figure: Figure | None = None,
    kind: str = "",
) -> None:
    """Writes the record of an experiment and its details, see `results.write`.

    Args:
      options: of `make_parser`.
      name: of the experiment.
      table: the record without its command.
      details: everything else, as JSON.
      extra: further words of the command.
      figure: of the record.
      kind: which of several records of one size, as part of the kept file's name.
    """
    table = {
        **table,
        "title": f"{table['title']}, size {options.size}",
        "command": _command(options, name, extra),
    }
    kept = (
        "_".join(filter(None, (name, kind, options.size))) if options.record else None
    )
    results.write(options.out / f"{name}.json", table, details, kept, figure)


def _command(options, name: str, extra: Sequence[str]) -> str:
    """The command line that makes a record."""
    words = [f"python experiments/{name}.py --size {options.size} --out OUT", *extra]
    words += [f"--variant {options.variant}"] if "variant" in options else []
    words += ["--data-dir DIR"] if options.data_dir else []
    words += [f"--set {setting}" for setting in options.settings]
    words += [f"--seeds {options.seeds}"] if options.seeds else []
    return " ".join(words)
