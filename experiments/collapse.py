"""Shows how first-order DARTS collapses to skips in the space of NAS-Bench-201.

Claim of the benchmark (Dong & Yang, ICLR 2020): DARTS of the first order ends with six
skips, a cell of 54.30 % test accuracy on CIFAR-10, in every search. Here the numbers of
skips and the table's accuracy of the cell that would be derived are followed over the
epochs. A search that is much shorter need not come so far; the rate of alpha times the
number of steps is the published one, 5.9, at every size.

The full size has the benchmark's widths, depth, epochs, batches, rates, weight decay
and Nesterov's momentum, and does not clip. It differs in this: the benchmark's rate
falls after every step instead of every epoch, and its weights take their step before
alpha does. The smaller sizes have plain momentum and clip gradients at a norm of 5.

Searches are carried out in pieces of any length, as in table2.py: the last call writes
the record and ends with exit code 0, those before it with 130.

Command: python experiments/collapse.py --table FILE.npz --size small --data-dir DIR
  --out OUT
  --list shows how far the searches are; --minutes M or --epochs-now N ends this piece;
  --set PATH=VALUE changes all searches.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import forks
import numpy as np
import pieces
import record_tables
import subset
from methods import Job, Method

import egnas_jax as eg
from egnas_jax.settings import assignments
from egnas_jax.storage import records
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.nasbench201.table import SPACE, BenchmarkTable, code_of

COLLAPSED = 4  # skips of six edges from which on a cell counts as collapsed
PUBLISHED = "54.30 ± 0.00 %, six skips"
COUNTS = ("seed", "skips after a quarter", "after half", "at the end", "most")
TITLE = "DARTS in NAS-Bench-201"
TEXT = "The cell that would be derived after each epoch, for each seed."
PANELS = {
    "skips": ("epoch", "skips of six edges"),
    "accuracy": ("epoch", "test accuracy in the table (%)"),
}


class Size(NamedTuple):
    """How large the searches are.

    Attributes:
      preset: of all searches.
      settings: of all searches.
      images: training images of a subset, half of which train; 0 for the whole set.
      seeds: default number of seeds.
    """

    preset: str
    settings: dict
    images: int
    seeds: int


# what all sizes share with the benchmark's training of the weights
_WEIGHTS = {
    "batch_size": 64,
    "learning_rate": 0.025,
    "learning_rate_min": 0.001,
    "weight_decay": 5e-4,
    "strategy.batch_size": 64,
}
SIZES = {
    # 11 weight steps in each of 24 epochs
    "tiny": Size(
        preset="digits",
        settings={
            **_WEIGHTS,
            "supernet.layers": 5,
            "supernet.channels": 4,
            "epochs": 24,
            "strategy.learning_rate": 2.2e-2,
        },
        images=0,
        seeds=3,
    ),
    # 39 weight steps in each of 20 epochs
    "small": Size(
        preset="cifar10",
        settings={
            **_WEIGHTS,
            "supernet.layers": 5,
            "supernet.channels": 8,
            "epochs": 20,
            "strategy.learning_rate": 7.5e-3,
        },
        images=5_000,
        seeds=3,
    ),
    # 390 weight steps in each of 50 epochs
    "full": Size(
        preset="cifar10",
        settings={
            **_WEIGHTS,
            "supernet.layers": 17,
            "supernet.channels": 16,
            "epochs": 50,
            "nesterov": True,
            "clip_norm": 1e12,  # the benchmark does not clip
            "strategy.learning_rate": 3e-4,
        },
        images=0,
        seeds=3,
    ),
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = forks.make_parser(__doc__, None)
    text = "the table of NAS-Bench-201"
    parser.add_argument("--table", required=True, metavar="FILE.npz", help=text)
    text = "only print how far the searches are"
    parser.add_argument("--list", action="store_true", help=text)
    pieces.add_limits(parser)
    return parser


def searches(
    options: argparse.Namespace, size: Size, source: subset.Source
) -> list[Job]:
    """The search of every seed.

    Raises:
      ValueError: a setting that a search does not have.
    """
    changes = {**assignments(options.settings), **source.settings}
    method = Method(size.preset, "darts", space=SPACE.name, settings=size.settings)
    method = method.with_settings(changes)
    return [
        method.job(options.out / f"darts-{seed}", seed, source.data_dir)
        for seed in range(options.seeds or size.seeds)
    ]


def accuracy_of(table: BenchmarkTable, genotype: str) -> float:
    """Test accuracy of a cell after 200 epochs, a fraction of the table."""
    choices = np.asarray(eg.Topology.parse(genotype).choices)
    return float(table.test[table.row_of[code_of(choices)]])


def skips_of(lines: Sequence[dict]) -> list[int]:
    """Skips of the cell that would be derived after each epoch."""
    return [line["skip_cell"] for line in lines]


def make_row(table: BenchmarkTable, seed: int, lines: Sequence[dict]) -> list:
    """The row of one seed."""
    skips, last = skips_of(lines), lines[-1]
    return [
        seed,
        *(skips[len(skips) * quarter // 4 - 1] for quarter in (1, 2, 4)),
        max(skips),
        100 * last["valid_accuracy"],
        100 * accuracy_of(table, last["genotype"]),
        last["genotype"],
    ]


def describe(table: BenchmarkTable, runs: Sequence[Sequence[dict]]) -> str:
    """What the searches came to, beside random cells and the published search."""
    ends = [skips_of(lines)[-1] for lines in runs]
    found = [accuracy_of(table, lines[-1]["genotype"]) for lines in runs]
    collapsed = sum(skips >= COLLAPSED for skips in ends)
    six = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+"
    six += "|skip_connect~0|skip_connect~1|skip_connect~2|"
    return (
        f"{collapsed} of {len(runs)} searches end with at least {COLLAPSED} skips of "
        f"six. Their cells have {100 * statistics.fmean(found):.2f} % in the table in "
        f"the mean, random cells {100 * float(table.test.mean()):.2f} %, and six skips "
        f"{100 * accuracy_of(table, six):.2f} %. As published: {PUBLISHED}."
    )


def make_table(
    options: argparse.Namespace, table: BenchmarkTable, runs: Sequence[Sequence[dict]]
) -> dict:
    """The record without its command."""
    size = SIZES[options.size]
    images = "CIFAR-10" if size.preset == "cifar10" else forks.DIGITS
    if size.images:
        images = f"{size.images:,} images of {images}"
    return {
        "title": TITLE,
        "claim": "Does DARTS of the first order collapse to skips?",
        "columns": [
            *(record_tables.column(name, 0) for name in COUNTS),
            record_tables.column("valid. accuracy (%)"),
            record_tables.column("test accuracy in the table (%)"),
            "cell",
        ],
        "rows": [make_row(table, *pair) for pair in enumerate(runs)],
        "seconds": sum(line["seconds"] for lines in runs for line in lines),
        "note": f"{describe(table, runs)} Searched on {images}; the table is of "
        f"CIFAR-10, after 200 epochs.",
    }


def make_series(table: BenchmarkTable, runs: Sequence[Sequence[dict]]) -> dict:
    """(epoch, value) of every seed, for each panel."""
    metrics = {
        "skips": lambda line: line["skip_cell"],
        "accuracy": lambda line: 100 * accuracy_of(table, line["genotype"]),
    }
    return {
        (panel, "DARTS"): {
            f"seed {seed}": [(line["epoch"] + 1, metric(line)) for line in lines]
            for seed, lines in enumerate(runs)
        }
        for panel, metric in metrics.items()
    }


def write(
    options: argparse.Namespace, table: BenchmarkTable, jobs: Sequence[Job]
) -> None:
    """Writes the record of searches that have all ended."""
    runs = [records.read(job.folder / "metrics.jsonl") for job in jobs]
    forks.write(
        options,
        "collapse",
        make_table(options, table, runs),
        {f"seed {seed}": skips_of(lines) for seed, lines in enumerate(runs)},
        extra=["--table FILE.npz"],
        figure=forks.plot(TITLE, TEXT, PANELS, make_series(table, runs)),
    )


def main(arguments: list[str] | None = None) -> None:
    """Carries all searches forward; writes the record when they have ended."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    try:
        table = read_table(options.table, "cifar10")  # before the searches start
        forks.check_images(options.settings)
        jobs = searches(options, size, subset.Source(None, {}))
        if options.list:
            print(pieces.progress(jobs), end="")
            return
        place = options.data_dir, options.out, size.images, size.preset
        jobs = searches(options, size, subset.locate(*place))
        left = pieces.begin(options)
    except ValueError as error:
        parser.error(str(error))
    pieces.carry(jobs, left)
    print(pieces.progress(jobs), end="")
    if not pieces.all_ended(jobs):
        raise SystemExit(pieces.INTERRUPTED)
    write(options, table, jobs)


if __name__ == "__main__":
    main()
