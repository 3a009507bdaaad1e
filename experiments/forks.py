"""Settings of EG-NAS that fork from one warm start a seed: what the ablations share.

The epochs before the first update of alpha do not depend on how alpha is updated, so
they are run once a seed, and every setting goes on from that state, bit for bit. All
that differs between two settings is theirs, and settings are compared seed by seed.

Pieces: finished runs are not repeated and interrupted ones go on, so an experiment may
be carried over any number of calls with the same --out.
"""

import argparse
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import methods
import numpy as np
import results
from methods import Found

from egnas_jax.strategies.egnas import weight_grid
from egnas_jax.strategies.egnas.config import VARIANTS
from egnas_jax.studies.report.curves import FigureData, Row, bands
from egnas_jax.studies.report.draw import draw_lines
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.write import as_figure


class Size(NamedTuple):
    """How large the searches of an experiment are.

    Attributes:
      arguments: of `egnas search`.
      warmup: epochs that all settings share.
      seeds: how many by default.
    """

    arguments: tuple[str, ...]
    warmup: int
    seeds: int


def settings(**values) -> tuple[str, ...]:
    """Words of a command line: a__b=c becomes --set a.b=c."""
    return tuple(
        word
        for path, value in values.items()
        for word in ("--set", f"{path.replace('__', '.')}={value}")
    )


# The smaller sizes leave two properties of the published code out, with which a weight
# step takes several times as long to compile: alpha's part in the clipped norm, and the
# short last batch of an epoch.
LIGHT = dict(strategy__alpha_in_clip="false", strategy__last_batch="drop")
DIGITS = ("--preset", "digits")
DIGITS_ARE = "scikit-learn's digits (1,438 images of 8 x 8, and 359 to test)"
TINY = dict(supernet__channels=4, supernet__layers=2, learning_rate=0.05, epochs=6)
TINY_EGNAS = settings(
    **TINY,
    **LIGHT,
    strategy__population=8,
    strategy__samples=1,
    strategy__fitness_batch_size=64,
)
# on few images of CIFAR-10
CIFAR10_SMALL = dict(
    supernet__channels=8,
    supernet__layers=5,
    batch_size=50,
    learning_rate=0.05,
    strategy__warmup=6,
    strategy__samples=2,
    **LIGHT,
)
SIZES = {
    "tiny": Size((*DIGITS, *TINY_EGNAS), 3, 2),
    "small": Size((*DIGITS, *settings(**LIGHT, epochs=16)), 8, 3),
    "full": Size(("--preset", "cifar10"), 15, 3),
}


def parser(text: str, variant: str | None = "reproduction") -> argparse.ArgumentParser:
    """Of an ablation's command line.

    Args:
      text: docstring of the experiment.
      variant: of EG-NAS where none is named; None: the experiment says itself which.
    """
    made = argparse.ArgumentParser(description=text.splitlines()[0])
    add = made.add_argument
    add(
        "--size",
        choices=SIZES,
        default="small",
        help="tiny: minutes; small: an hour on 2 cores; full: a GPU",
    )
    if variant is not None:
        add(
            "--variant",
            default=variant,
            choices=VARIANTS,
            help="of EG-NAS (%(default)s)",
        )
    add("--seeds", type=methods.counted, help="how many (the size's)")
    add(
        "--data-dir",
        type=lambda text: str(methods.absolute(text)),
        help="the only place to look for the data set",
    )
    add(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="PATH=VALUE",
        type=methods.unseeded,
        help="change one setting of all searches",
    )
    methods.add_out(made)
    return made


def images(
    options: argparse.Namespace,
    arguments: Sequence[str] | None = None,
    taken: int = 0,
) -> str:
    """Which images the searches are on, and what they leave out, for a note.

    Args:
      options: of `parser`.
      arguments: of the searches (those of `SIZES`).
      taken: how many images of the data set; 0: all.
    """
    size = SIZES[options.size].arguments if arguments is None else arguments
    own = any(one.startswith(("data.path=", "data.name=")) for one in options.settings)
    named = DIGITS_ARE if tuple(size[:2]) == DIGITS else "CIFAR-10"
    named = f"{taken:,} images of {named}" if taken else named
    where = "Ours on images that are not the size's." if own else f"Ours on {named}."
    return where + left_out((*size, *options.settings))


def left_out(words: Sequence[str]) -> str:
    """What searches of such a command line leave out, as a sentence of a note."""
    given = dict(word.split("=", 1) for word in words if "=" in word)
    light = dict(word.split("=", 1) for word in settings(**LIGHT)[1::2])
    if not light.items() <= given.items():
        return ""
    return " Alpha takes no part in the clipped norm, short last batches are dropped."


def warm_starts(options: argparse.Namespace) -> list[pathlib.Path]:
    """One a seed, in folders warm_start-SEED of `--out`; run where they are missing.

    Args:
      options: of `parser`.

    Raises:
      SystemExit: a search failed, with its code.
    """
    size, folders = SIZES[options.size], []
    for seed in range(options.seeds or size.seeds):
        folders.append(options.out / f"warm_start-{seed}")
        stop = ["--stop-after", str(size.warmup)]
        methods.run_one([*_base(options, seed), *stop], folders[-1])
    return folders


def run(
    settings: Mapping[str, Sequence[str]], options: argparse.Namespace
) -> list[Found]:
    """Every setting from every seed's warm start, in folders SETTING-SEED of `--out`.

    Args:
      settings: name -> what it changes, "path=value" each.
      options: of `parser`.

    Raises:
      SystemExit: a search failed, with its code.
    """
    found = []
    for seed, warm in enumerate(warm_starts(options)):
        for name, changes in settings.items():
            words = [word for one in changes for word in ("--set", one)]
            own = [*_base(options, seed), *words, "--restore", str(warm)]
            done = methods.run_one(own, options.out / f"{name}-{seed}")
            found.append(Found(name, seed, *done))
    return found


def _base(options, seed: int) -> list[str]:
    """What all searches of a seed share."""
    size = SIZES[options.size]
    words = [*size.arguments, "--variant", options.variant]
    words += ["--data-dir", options.data_dir] if options.data_dir else []
    settings = [
        f"strategy.warmup={size.warmup}",
        "strategy.weight_grid=true",
        *options.settings,
        f"seed={seed}",
    ]
    return words + [word for one in settings for word in ("--set", one)]


def of(found: Sequence[Found], name: str, figure: Callable[[Found], float]) -> list:
    """A figure of one setting, seed by seed."""
    return [figure(one) for one in found if one.method == name]


def accuracy(one: Found) -> float:
    """Validation accuracy of the supernet after the last epoch, a fraction."""
    return one.summary["valid_accuracy"]


def agreement(found: Sequence[Found]) -> np.ndarray | None:
    """How often every two pairs of the report's weights chose the same individual.

    Args:
      found: runs, all of whose populations count.

    Returns:
      Fractions, f64[16, 16], as `weight_grid.PAIRS` orders them; None where no
      population was evaluated.
    """
    chosen = [
        line["grid_chosen"]
        for one in found
        for line in one.lines
        if line.get("candidate_images")
    ]
    return weight_grid.agreement(np.concatenate(chosen)) if chosen else None


def agreed(agreement: np.ndarray | None) -> str:
    """The mean of it over pairs that differ in zeta / eta, as a sentence of a note."""
    if agreement is None:
        return ""
    ratios = np.array([weight_grid.ratio(pair) for pair in weight_grid.PAIRS])
    apart = agreement[ratios[:, None] != ratios[None]]
    return (
        f" In the populations that the runs evaluated, the first of which are alike in "
        f"all runs of a seed, two weightings of the report that differ in zeta / eta "
        f"choose the same individual in {100 * apart.mean():.0f} "
        f"% ({100 * apart.min():.0f} to {100 * apart.max():.0f})."
    )


def grid(agreement: np.ndarray | None) -> dict:
    """The same for an experiment's details."""
    pairs = [f"{zeta},{eta}" for zeta, eta in weight_grid.PAIRS]
    return {"pairs": pairs, "agreement": agreement}


def seconds(found: Sequence[Found]) -> float:
    """Of all epochs that were run; a fork's records begin with those of its warm start,
    to the last digit of their seconds."""
    epochs = {
        (one.seed, line["epoch"], line["seconds"])
        for one in found
        for line in one.lines
    }
    return sum(seconds for *_, seconds in epochs)


def seconds_an_epoch(one: Found) -> float:
    """Of the epochs with an exploration, their median; compilation comes before."""
    return statistics.median(
        line["seconds"] for line in one.lines if line.get("candidate_images")
    )


Series = Mapping[tuple[str, str], Mapping[str, Sequence[tuple[float, float]]]]


def draw(title: str, text: str, panels: dict, series: Series) -> Figure:
    """A picture of lines, seeds thin and their mean thick.

    Args:
      title, text: what it shows.
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
    figure = FigureData(title.lower().replace(" ", "_"), title, text, panels, rows)
    return as_figure(figure, draw_lines(figure))


def write(
    options: argparse.Namespace,
    name: str,
    table: dict,
    details: object,
    *needed: str,
    picture: Figure | None = None,
) -> None:
    """The record of an experiment and all its figures, as `results.write` has it.

    Args:
      options: of `parser`.
      name: of the experiment.
      table: of the record, without its command.
      details: everything else, as JSON.
      needed: what the command was given besides.
      picture: of the record.
    """
    words = [f"python experiments/{name}.py --size {options.size} --out OUT", *needed]
    words += [f"--variant {options.variant}"] if "variant" in options else []
    words += ["--data-dir DIR"] if options.data_dir else []
    words += [f"--set {setting}" for setting in options.settings]
    words += [f"--seeds {options.seeds}"] if options.seeds else []
    table = {
        **table,
        "title": f"{table['title']}, size {options.size}",
        "command": " ".join(words),
    }
    kept = f"{name}_{options.size}" if options.record else None
    results.write(options.out / f"{name}.json", table, details, kept, picture)
