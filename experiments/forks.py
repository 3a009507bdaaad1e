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
import results
from methods import Found

from egnas_jax.report.curves import Figure, Row, bands
from egnas_jax.report.draw import draw_lines
from egnas_jax.report.page import Picture
from egnas_jax.report.statistics import compare, summarise
from egnas_jax.report.write import picture_of
from egnas_jax.strategies.egnas_config import VARIANTS


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
    **TINY, **LIGHT, strategy__population=8, strategy__samples=1,
    strategy__fitness_batch_size=64,
)  # fmt: skip
SIZES = {
    "tiny": Size((*DIGITS, *TINY_EGNAS), 3, 2),
    "small": Size((*DIGITS, *settings(**LIGHT, epochs=16)), 8, 3),
    "full": Size(("--preset", "cifar10"), 15, 3),
}  # fmt: skip


def parser(text: str, variant: str | None = "seed") -> argparse.ArgumentParser:
    """Of an ablation's command line.

    Args:
      text: docstring of the experiment.
      variant: of EG-NAS where none is named; None: the experiment says itself which.
    """
    made = argparse.ArgumentParser(description=text.splitlines()[0])
    add = made.add_argument
    add("--size", choices=SIZES, default="small",
        help="tiny: minutes; small: an hour on 2 cores; full: a GPU")  # fmt: skip
    if variant is not None:
        add("--variant", default=variant, choices=VARIANTS,
            help="of EG-NAS (%(default)s)")  # fmt: skip
    add("--seeds", type=methods.counted, help="how many (the size's)")
    add("--data-dir", type=lambda text: str(methods.absolute(text)),
        help="the only place to look for the data set")  # fmt: skip
    add("--set", action="append", default=[], dest="settings", metavar="PATH=VALUE",
        type=methods.unseeded,
        help="change one setting of all searches")  # fmt: skip
    methods.add_out(made)
    return made


def images(options: argparse.Namespace) -> str:
    """Which images the searches are on, as a sentence of a note."""
    if any(one.startswith(("data.path=", "data.name=")) for one in options.settings):
        return "Ours on images that are not the size's."
    digits = SIZES[options.size].arguments[:2] == DIGITS
    return f"Ours on {DIGITS_ARE if digits else 'CIFAR-10'}."


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
    settings = [f"strategy.warmup={size.warmup}", *options.settings, f"seed={seed}"]
    return words + [word for one in settings for word in ("--set", one)]


def of(found: Sequence[Found], name: str, figure: Callable[[Found], float]) -> list:
    """A figure of one setting, seed by seed."""
    return [figure(one) for one in found if one.method == name]


def accuracy(one: Found) -> float:
    """Validation accuracy of the supernet after the last epoch, a fraction."""
    return one.summary["valid_accuracy"]


def seconds(found: Sequence[Found]) -> float:
    """Of all epochs that were run; a fork's records begin with those of its warm start,
    to the last digit of their seconds."""
    epochs = {
        (one.seed, line["epoch"], line["seconds"])
        for one in found
        for line in one.lines
    }
    return sum(seconds for *_, seconds in epochs)


def mean_of(one: Found, name: str) -> float:
    """A figure of metrics.jsonl over the epochs that have it."""
    values = [line[name] for line in one.lines if line.get(name) is not None]
    return statistics.mean(values)


def seconds_an_epoch(one: Found) -> float:
    """Of the epochs with an exploration, the first of which compiles: their median."""
    explored = [line for line in one.lines if line.get("candidate_images")]
    return statistics.median(line["seconds"] for line in explored[1:] or explored)


def p_value(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Of a paired t test over seeds; None where it is not defined."""
    groups = {"values": dict(enumerate(values)), "others": dict(enumerate(others))}
    (comparison,) = compare(groups)
    return comparison.t_test


def interval(
    values: Sequence[float], scale: float = 1.0, confidence: float = 0.95
) -> str:
    """The interval of the mean, as a table has it."""
    found = summarise([scale * value for value in values], confidence)
    if found.low is None:
        return "one seed"
    return f"{found.low:.2f} to {found.high:.2f}"


def verdict(differences: Sequence[float], confidence: float = 0.95) -> str:
    """What the interval of (method - random cells) of test errors allows to say."""
    found = summarise(list(differences), confidence)
    if found.low is None:
        return "one seed: nothing can be said"
    if found.high < 0:
        return "better than random cells"
    if found.low > 0:
        return "worse than random cells"
    return "not told apart from random cells"


def column(name: str, decimals: int = 2) -> dict:
    return {"name": name, "decimals": decimals}


Series = Mapping[tuple[str, str], Mapping[str, Sequence[tuple[float, float]]]]


def draw(title: str, text: str, panels: dict, series: Series) -> Picture:
    """A picture of lines, seeds thin and their mean thick.

    Args:
      title, text: what it shows.
      panels: panel -> labels of its axes.
      series: (panel, group) -> run -> its (x, y).
    """
    rows = []
    for (panel, group), runs in series.items():
        rows += [Row(panel, group, run, *point)
                 for run, points in runs.items() for point in points]  # fmt: skip
        rows += bands(panel, group, [list(points) for points in runs.values()])
    figure = Figure(title.lower().replace(" ", "_"), title, text, panels, rows)
    return picture_of(figure, draw_lines(figure))


def write(
    options: argparse.Namespace,
    name: str,
    table: dict,
    details: object,
    *needed: str,
    picture: Picture | None = None,
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
    table = {**table, "title": f"{table['title']}, size {options.size}",
             "command": " ".join(words)}  # fmt: skip
    kept = f"{name}_{options.size}" if options.record else None
    results.write(options.out / f"{name}.json", table, details, kept, picture)
