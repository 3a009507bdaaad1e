"""Compares all search methods on one supernet, at equal cost, by trained cells.

Every method of the table of strategies searches with the same supernet, split, weight
steps and number of images to choose by (search_cost.py). The cell of every seed is
trained from scratch by one recipe, at about equal numbers of weights, beside random
cells, the largest of random cells and the cell of an alpha that was never trained. No
seed is chosen: all count. Differences from random search and from random cells are
paired by seed, with intervals under one correction for all of them (Holm). The
sentences below the table are made from these intervals.

Published figures stand beside ours as they are quoted. They are of other networks,
recipes and budgets, and of the best of several searches.

Searches and trainings are carried out in pieces of any length, as in table2.py: the
last call writes the table and ends with exit code 0, those before it with 130.

Command: python experiments/ten_systems.py --size tiny --out OUT
  --list shows how far the runs are; --methods NAME... names some methods;
  --settings-of published|both adds the rows "as published"; --minutes M or
  --epochs-now N ends this piece; --set PATH=VALUE changes all searches, --train
  PATH=VALUE all trainings.
"""

import argparse
from collections.abc import Sequence

import forks
import pieces
import subset
import ten_systems_table as tables
from search_cost import cost_of
from ten_systems_runs import (
    AS_PUBLISHED,
    SETTINGS,
    Row,
    Run,
    rows_of,
    search_runs,
    train_runs,
)
from ten_systems_sizes import SIZES, Size
from ten_systems_table import Result

from egnas_jax.lookup import lookup
from egnas_jax.storage import records
from egnas_jax.strategies import STRATEGIES


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = forks.make_parser(__doc__, None)
    add = parser.add_argument
    text = "which methods, beside random search (all)"
    add("--methods", nargs="+", metavar="NAME", help=text)
    text = "rows of the methods: the common setting, the published one, or both"
    add("--settings-of", choices=SETTINGS, default="common", help=text)
    text = "only print how far the runs are"
    add("--list", action="store_true", help=text)
    forks.add_settings(parser, "--train", "train", "trainings")
    pieces.add_limits(parser)
    return parser


def check(options: argparse.Namespace) -> Size:
    """The size of the command line, whose options are checked before anything runs.

    Raises:
      ValueError: an unknown method, one without a row that is asked for, or a setting
        that a run does not have.
    """
    for name in options.methods or ():
        lookup(STRATEGIES, name, "method")
        if options.settings_of == "published" and name not in AS_PUBLISHED:
            raise ValueError(
                f"--settings-of is published, but {name} has no row as published, "
                f"which these have: {', '.join(AS_PUBLISHED)}. Leave {name} out, or "
                f"take common or both."
            )
    forks.check_images([*options.settings, *options.train])
    size, anywhere = SIZES[options.size], subset.Source(None, {})
    search_runs(options, size, anywhere)
    train_runs(options, size, anywhere, [])
    return size


def carry_out(
    options: argparse.Namespace, size: Size, source: subset.Source, left: pieces.Limits
) -> list[Result]:
    """Carries all runs forward, as far as this piece may; returns their results.

    Raises:
      SystemExit: the piece ended before all runs did.
    """
    searches = search_runs(options, size, source)
    for seed in range(options.seeds or size.seeds):
        # early pieces hold whole seeds
        mine = [run for run in searches if run.seed == seed]
        left = pieces.carry(jobs_of(mine), left)
        trainings = train_runs(options, size, source, mine)
        ready = [run for run in trainings if run.seed == seed]
        left = pieces.carry(jobs_of(ready), left)
    trainings = train_runs(options, size, source, searches)
    runs = [*searches, *trainings]
    print(progress(options, size, runs))
    # cells of searches that have not ended are no runs yet
    if len(runs) < num_runs(options, size) or not pieces.all_ended(jobs_of(runs)):
        raise SystemExit(pieces.INTERRUPTED)
    return results_of(size, searches, trainings)


def jobs_of(runs: Sequence[Run]) -> list:
    """The jobs of runs."""
    return [run.job for run in runs]


def num_runs(options: argparse.Namespace, size: Size) -> int:
    """How many searches and trainings a whole comparison has."""
    rows = rows_of(options)
    searched = sum(row.setting is not None for row in rows)
    return (len(rows) + searched) * (options.seeds or size.seeds)


def num_ended(runs: Sequence[Run]) -> int:
    """How many runs have ended."""
    return sum(pieces.summary_of(run.job) is not None for run in runs)


def progress(options: argparse.Namespace, size: Size, runs: Sequence[Run]) -> str:
    """How far every run is, and how many have ended; cells of searches that have not
    ended are no runs yet."""
    ended = f"{num_ended(runs)} of {num_runs(options, size)} runs have ended."
    return pieces.progress(jobs_of(runs)) + ended


def show_pieces(options: argparse.Namespace, size: Size) -> None:
    """Prints how far every run is; needs no images and changes nothing."""
    anywhere = subset.Source(None, {})
    searches = search_runs(options, size, anywhere)
    trainings = train_runs(options, size, anywhere, searches)
    print(progress(options, size, [*searches, *trainings]))


def results_of(
    size: Size, searches: Sequence[Run], trainings: Sequence[Run]
) -> list[Result]:
    """What every training came to, with the cost of its search."""
    by_cell = {(run.row, run.seed): run for run in searches}
    return [_result(size, run, by_cell.get((run.row, run.seed))) for run in trainings]


def _result(size: Size, training: Run, search: Run | None) -> Result:
    summary = pieces.summary_of(training.job)
    result = Result(
        row=training.row,
        seed=training.seed,
        error=summary["test_error_last"],
        best=summary["test_error_best"],
        params=summary["params"],
        genotype=training.job.genotype.format(),
        train_seconds=summary["seconds"],
    )
    if search is None:
        return result
    lines = records.read(search.job.folder / "metrics.jsonl")
    return result._replace(
        search_seconds=pieces.summary_of(search.job)["seconds"],
        cost=cost_of(search.job.config, lines, size.num_train),
    )


def make_note(size: Size, results: list[Result]) -> str:
    """The note of the record: what the intervals allow, and what was held equal."""
    groups = tables.by_row(results)
    comparisons = tables.comparisons_of(groups)
    seeds = len({result.seed for result in results})
    return " ".join(
        [
            *(tables.claims(*part) for part in comparisons.items()),
            tables.holm_note(comparisons, seeds),
            tables.budgets(groups, size.budget),
            tables.sizes(groups, size.target),
            f"Ours on {name_images(size)}, test error of the last epoch and, apart, of "
            f"the best. As quoted: of other networks, recipes and budgets, often of "
            f"the best of several searches; * read off a figure, or not verified.",
        ]
    )


def name_images(size: Size) -> str:
    """Names the images of a size in a sentence."""
    images = forks.DIGITS if size.preset == "digits" else "CIFAR-10"
    if size.images:
        images = f"{size.images:,} images of {images}"
    if size.side:
        images += f", averaged to {size.side} x {size.side} pixels"
    return images


def write(options: argparse.Namespace, size: Size, results: list[Result]) -> None:
    """Writes the record of runs that have all ended."""
    seconds = [r.train_seconds + (r.search_seconds or 0.0) for r in results]
    methods = {row.name for row in rows_of(options) if row.setting is not None}
    all_or_some = "All " if methods == set(STRATEGIES) else ""
    table = {
        "title": f"{all_or_some}{len(methods)} methods on one supernet",
        "claim": "Which methods find better cells than random search does at equal "
        "cost, and than random cells are?",
        "columns": tables.COLUMNS,
        "rows": tables.make_rows(tables.by_row(results)),
        "seconds": sum(seconds),
        "note": make_note(size, results),
    }
    extra = [f"--methods {' '.join(options.methods)}"] if options.methods else []
    if options.settings_of != "common":
        extra += [f"--settings-of {options.settings_of}"]
    extra += [f"--train {setting}" for setting in options.train]
    details = [details_of(result) for result in results]
    forks.write(options, "ten_systems", table, details, extra=extra)


def details_of(result: Result) -> dict:
    """Everything about one seed of a row, as JSON."""
    entry = result._asdict() | {"row": Row._asdict(result.row)}
    return entry | {"cost": result.cost and result.cost._asdict()}


def main(arguments: list[str] | None = None) -> None:
    """Carries all runs forward; writes the record when they have ended."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        size = check(options)
        if options.list:
            return show_pieces(options, size)
        place = options.data_dir, options.out, size.images, size.preset
        source = subset.locate(*place, side=size.side)
        left = pieces.begin(options)
    except ValueError as error:
        parser.error(str(error))
    write(options, size, carry_out(options, size, source, left))


if __name__ == "__main__":
    main()
