"""Repeats Table 2 of the report: a found cell trained with several seeds.

EG-NAS searches several times, and validation accuracy chooses one search; its cell is
trained from scratch with every seed. As a baseline, each seed trains a random cell of
about as many weights. The difference between the two is a statement about this one
cell; chance.py measures how much searches differ.

Searches and trainings are carried out in pieces of any length: each call goes on where
the last one ended, even where that was killed, and says how far it came. The last one
writes the table and ends with exit code 0, those before it with 130.

Claim of the report: 2.73 % test error on CIFAR-10 (4 seeds) and 17.91 % on CIFAR-100,
by the best of more than 20 searches of 0.08 GPU-days each.

Command: python experiments/table2.py --size small --data-dir DIR --out OUT
  --preset cifar100 for the other column; --genotype GENOTYPE for a cell that exists;
  --minutes M or --epochs-now N ends this piece; --compile-only compiles the training of
  a given cell; --set PATH=VALUE changes the searches, --train PATH=VALUE the trainings.
"""

import argparse
import statistics
from collections.abc import Sequence

import command_line
import compilation
import forks
import pieces
import random_cells
import record_tables
import subset
from methods import Job
from table2_runs import (
    IMAGES,
    SIZES,
    Cell,
    Jobs,
    Size,
    best_of,
    read_cell,
    search_jobs,
    train_jobs,
)

from egnas_jax.settings import assignments
from egnas_jax.studies import retrain_seeds

# test errors (%) of four seeds, weights (M), search cost (GPU-days)
REPORTED = {
    "report, CIFAR-10": ((2.77, 2.68, 2.84, 2.65), 2.58, 0.08),
    "report, CIFAR-100": ((18.05, 17.79, 17.96, 17.84), 2.39, 0.08),
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = forks.make_parser(__doc__)
    add = parser.add_argument
    text = "data set and recipe of the sizes small and full (cifar10)"
    add("--preset", choices=("cifar10", "cifar100"), help=text)
    add("--genotype", help="the cell, instead of searches")
    text = "how many a cell is chosen from (the size's)"
    add("--searches", type=command_line.positive, metavar="N", help=text)
    forks.add_settings(parser, "--train", "train", "trainings")
    text = "compile the next training into JAX's cache, and end"
    add("--compile-only", action="store_true", help=text)
    pieces.add_limits(parser)
    return parser


def size_of(options: argparse.Namespace) -> Size:
    """The size that the command line describes.

    Raises:
      ValueError: options contradict each other, or name an unknown setting or cell.
    """
    size = SIZES[options.size]
    if options.preset and size.preset == "digits":
        raise ValueError(f"--size {options.size} is on digits: leave --preset out.")
    if options.genotype is not None and (options.searches or options.settings):
        raise ValueError(
            "With --genotype nothing is searched: leave --searches and --set out."
        )
    if options.compile_only and options.genotype is None:
        raise ValueError("--compile-only needs the cell: name it by --genotype.")
    forks.check_images([*options.settings, *options.train])
    size = size._replace(
        preset=options.preset or size.preset,
        searches=options.searches or size.searches,
        seeds=options.seeds or size.seeds,
    )
    # Wrong settings are found before anything runs.
    cell = Cell(random_cells.random_genotype(0), {})
    if options.genotype is not None:
        cell = read_cell(options.genotype)
    anywhere = subset.Source(None, {})
    search_jobs(options, size, anywhere)
    train_jobs(options, size, anywhere, cell)
    return size


def carry_out(
    options: argparse.Namespace, size: Size, source: subset.Source, left: pieces.Limits
) -> Jobs:
    """Carries all runs forward, as far as this piece may.

    Raises:
      SystemExit: the piece ended before all runs did.
    """
    searches = search_jobs(options, size, source)
    left = pieces.carry(searches, left)
    print(pieces.progress(searches), end="")
    if not pieces.all_ended(searches):
        raise SystemExit(pieces.INTERRUPTED)
    cell = read_cell(options.genotype or best_of(searches).folder)
    found, random = train_jobs(options, size, source, cell)
    pieces.carry([*found, *random], left)
    print(pieces.progress([*found, *random]), end="")
    if not pieces.all_ended([*found, *random]):
        raise SystemExit(pieces.INTERRUPTED)
    return Jobs(searches, found, random)


def compile_next(
    options: argparse.Namespace, size: Size, source: subset.Source
) -> None:
    """Compiles the first training that has not ended, if there is one."""
    found, random = train_jobs(options, size, source, read_cell(options.genotype))
    left = [job for job in (*found, *random) if not pieces.summary_of(job)]
    if left:
        compilation.compile_training(left[0])


def summarise_seeds(jobs: Sequence[Job]) -> dict:
    """The summary of several seeds, as `egnas retrain --seeds N` has it."""
    return retrain_seeds.aggregate(
        [
            pieces.summary_of(job) | {"seed": seed, "run": str(job.folder)}
            for seed, job in enumerate(jobs)
        ]
    )


def make_rows(jobs: Jobs, total: dict) -> list[list]:
    """Rows of the record: ours, and those of the report.

    Args:
      jobs: all runs, which have ended.
      total: summary of the seeds of the found cell.
    """
    seconds = total["search_seconds"]
    days = seconds and seconds / retrain_seeds.DAY
    first = "found by EG-NAS" if jobs.searches else "the given cell"
    rows = [
        make_row(first, errors_of(jobs.found), params_of(jobs.found), days),
        make_row(
            "random cells, one a seed", errors_of(jobs.random), params_of(jobs.random)
        ),
    ]
    for name, (errors, weights, days) in REPORTED.items():
        fractions = [error / 100 for error in errors]
        rows.append(make_row(name, fractions, [1e6 * weights], days))
    return rows


def make_row(
    name: str, errors: list[float], weights: list[float], days: float | None = None
) -> list:
    """One row; errors are fractions."""
    texts = ", ".join(f"{100 * error:.2f}" for error in errors)
    millions = statistics.fmean(weights) / 1e6
    return [name, texts, record_tables.cell(errors, 100), millions, days]


def errors_of(jobs: Sequence[Job]) -> list[float]:
    """Test error after the last epoch, a fraction, seed by seed."""
    return [pieces.summary_of(job)["test_error_last"] for job in jobs]


def params_of(jobs: Sequence[Job]) -> list[float]:
    """Number of weights, seed by seed."""
    return [pieces.summary_of(job)["params"] for job in jobs]


def make_note(options: argparse.Namespace, size: Size, jobs: Jobs, epochs: int) -> str:
    """The note of the record."""
    number, images = len(jobs.searches), IMAGES[size.preset][0]
    if size.images:
        images = f"{size.images:,} images of {images}"
    choice = light = ""
    if number:
        which = f"The best of {number} searches" if number > 1 else "One search"
        by = " by validation accuracy" if number > 1 else ""
        choice = (
            f"{which} (variant {options.variant}){by}; the report's cells are the best "
            f"of more than 20. "
        )
        light = forks.left_out({**size.search, **assignments(options.settings)})
    return (
        f"{choice}Ours on {images}; {epochs} epochs, test error of the last.{light} "
        f"{compare(errors_of(jobs.found), errors_of(jobs.random))}"
    )


def compare(errors: list[float], others: list[float]) -> str:
    """What the difference from random cells shows, as a sentence."""
    differences = [a - b for a, b in zip(errors, others, strict=True)]
    if len(differences) < 2:
        return "One seed: of the difference nothing can be said."
    return (
        f"The first row minus the second: "
        f"{record_tables.interval(differences, 100)} points (95 %), "
        f"{record_tables.verdict(differences)}; that is said of this cell, not of "
        f"searches."
    )


def write(options: argparse.Namespace, size: Size, jobs: Jobs) -> None:
    """Writes the tables of runs that have all ended."""
    total = summarise_seeds(jobs.found)
    retrain_seeds.write(options.out, total)
    summaries = {
        job.folder.name: pieces.summary_of(job) for group in jobs for job in group
    }
    table = {
        "title": "Table 2 of the report",
        "rows": make_rows(jobs, total),
        "claim": "How good is a found cell, beside the report's and beside cells drawn "
        "at random?",
        "columns": [
            "cell",
            "of each seed (%)",
            "test error (%)",
            record_tables.column("weights (M)", 3),
            record_tables.column("a search (device days)", 4),
        ],
        "seconds": sum(summary["seconds"] for summary in summaries.values()),
        "note": make_note(options, size, jobs, total["epochs"]),
    }
    named = {
        name: getattr(options, name) for name in ("preset", "genotype", "searches")
    }
    extra = [f"--{name} {value}" for name, value in named.items() if value]
    extra += [f"--train {setting}" for setting in options.train]
    name = "table2_cifar100" if size.preset == "cifar100" else "table2"
    forks.write(options, name, table, summaries, extra=extra)


def main(arguments: list[str] | None = None) -> None:
    """Carries all runs forward; writes the record when they have ended."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        size = size_of(options)
        source = subset.locate(options.data_dir, options.out, size.images, size.preset)
        left = pieces.begin(options)
    except ValueError as error:
        parser.error(str(error))
    if options.compile_only:
        compile_next(options, size, source)
        return
    write(options, size, carry_out(options, size, source, left))


if __name__ == "__main__":
    main()
