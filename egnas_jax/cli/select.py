"""Implements `egnas select`, which selects cells from a searched supernet."""

import argparse
import functools
import json
import pathlib

from egnas_jax.cli.console import (
    add_data_arguments,
    check_folders,
    check_run,
    check_writable,
    say,
    use_compilation_cache,
)


def select_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas select`."""
    add = parser.add_argument
    number = functools.partial(add, type=int)
    add("run", metavar="RUN", help="run directory of `egnas search`")
    add_data_arguments(parser)
    names = "rule; may be repeated; `all` (default); `egnas list selectors`"
    add("--by", action="append", metavar="SELECTOR", help=names)
    number("--batches", metavar="N", help="validation batches (up to 20)")
    number("--batch-size", metavar="N", help="images of each (the run's own)")
    statistics = "statistics of batch norm, batch or running (%(default)s)"
    add("--batch-stats", default="batch", metavar="KIND", help=statistics)
    criterion = "compare candidates by accuracy or loss (%(default)s)"
    add("--criterion", default="accuracy", metavar="NAME", help=criterion)
    seeds = "run selectors that draw with so many seeds (%(default)s)"
    number("--seeds", default=1, metavar="N", help=seeds)
    number("--seed", default=0, help="the first seed, and of batches (%(default)s)")
    permutations = "permutations of the Shapley values (%(default)s)"
    number("--permutations", default=10, metavar="N", help=permutations)
    share = "a permutation ends below this share of the accuracy (%(default)s)"
    add("--truncation", type=float, default=0.5, metavar="SHARE", help=share)
    value = "Shapley values: mean-std as published, or mean (%(default)s)"
    add("--value", default="mean-std", metavar="NAME", help=value)
    epochs = "train so long between decisions of perturbation (%(default)s)"
    number("--finetune", default=0, metavar="EPOCHS", help=epochs)
    add("--out", metavar="DIR", help="where the results go (default: into RUN)")
    add("--json", action="store_true", help="print one JSON object and nothing else")


OPTIONS = (
    *("batches", "batch_size", "batch_stats", "criterion"),
    *("seeds", "seed", "permutations", "truncation", "value", "finetune"),
)


def select(options: argparse.Namespace) -> None:
    """Runs selectors on a run's newest weights, writes and prints what they found."""
    check_run(options.run)
    check_folders(options, ("out", "data_dir"))
    from egnas_jax.studies.selection.options import SelectionOptions
    from egnas_jax.studies.selection.selectors import (
        ALL,
        check_used,
        selector_names,
    )

    names = selector_names(options.by or ALL)
    chosen = {name: getattr(options, name) for name in OPTIONS}
    check_used(names, SelectionOptions(**chosen))  # before JAX is imported
    folder = pathlib.Path(options.run)
    out = folder if options.out is None else pathlib.Path(options.out)
    check_writable(out)
    from egnas_jax.settings import assignments
    from egnas_jax.storage import records
    from egnas_jax.studies.selection import study

    use_compilation_cache()
    selection = study.select(
        folder,
        by=names,
        out=out,
        data_dir=options.data_dir,
        settings=assignments(options.overrides),
        log=say,
        **chosen,
    )
    if options.json:
        print(json.dumps(records.plain(selection.result)))
    else:
        _print_summary(selection.result, out)


def _print_summary(result: dict, out: pathlib.Path) -> None:
    from egnas_jax.studies.selection.table import selection_markdown

    print(selection_markdown(result))
    print(f"Results: {out}/selection.json, {out}/selection.md")
    for entry in result["selectors"]:
        file = out / f"selection_{entry['selector']}.json"
        print(f"egnas retrain --genotype {file}")
