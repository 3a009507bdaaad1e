"""Implements `egnas noise`, which measures how well one fitness batch ranks."""

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


def noise_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas noise`."""
    add = parser.add_argument
    number = functools.partial(add, type=int)
    add("run", metavar="RUN", help="run directory of `egnas search`")
    add_data_arguments(parser)
    kinds = "individuals (of EG-NAS, its default) or cells"
    add("--candidates", metavar="KIND", help=kinds)
    number("--individuals", metavar="P", help="how many (the run's population)")
    number("--batches", metavar="M", help="how many batches (up to 20)")
    images = "images of each (the run's fitness batch)"
    number("--batch-size", metavar="N", help=images)
    goal = "count the batches for this repeatability of ranks (%(default)s)"
    add("--reliability", type=float, default=0.9, metavar="R", help=goal)
    number("--seed", default=0, help="of candidates and batches (%(default)s)")
    files = "where noise.json, .csv and .svg go (default: into RUN)"
    add("--out", metavar="DIR", help=files)
    add("--json", action="store_true", help="print one JSON object and nothing else")


def noise(options: argparse.Namespace) -> None:
    """Runs a noise study on a run's newest weights and prints what it found."""
    check_run(options.run)
    check_folders(options, ("out", "data_dir"))
    _check_numbers(options)
    from egnas_jax.runs.failures import running
    from egnas_jax.settings import assignments
    from egnas_jax.storage import records
    from egnas_jax.studies.noise.noise_plot import draw_noise
    from egnas_jax.studies.noise.study import NoiseRequest, run_study, write

    request = NoiseRequest(
        candidates=options.candidates,
        size=options.individuals,
        batches=options.batches,
        batch_size=options.batch_size,
        reliability=options.reliability,
        seed=options.seed,
    )
    folder = pathlib.Path(options.run)
    out = folder if options.out is None else pathlib.Path(options.out)
    check_writable(out)
    use_compilation_cache()
    study = run_study(
        folder, options.data_dir, request, say, settings=assignments(options.overrides)
    )
    with running():
        write(out, study, draw_noise(study.result, study.matrices))
    if options.json:
        print(json.dumps(records.plain(study.result)))
    else:
        _print_summary(study.result, out)


def _check_numbers(options: argparse.Namespace) -> None:
    for name, least in dict(individuals=1, batches=1, batch_size=1, seed=0).items():
        value = getattr(options, name)
        if value is not None and value < least:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is {value}, but must be at least {least}.")


def _print_summary(result: dict, out: pathlib.Path) -> None:
    print(
        f"{result['size']} {result['candidates']} on {result['batches']} batches of "
        f"{result['batch_size']} images, after {result['epochs']} epochs:"
    )
    for kind, metrics in result["statistics"].items():
        for name, measures in metrics.items():
            text = sentence(measures)
            print(f"  {kind} statistics, {name.replace('_', ' ')}: {text}")
    for name, measures in result["running_against_batch"].items():
        tau = measures["kendall_on_all"]
        text = "undefined" if tau is None else f"{tau:.2f}"
        print(
            f"  running against batch statistics, {name.replace('_', ' ')}: tau on all "
            f"batches {text}"
        )
    if result["not_finite"]:
        print(f"  {result['not_finite']} candidates were not finite and left out.")
    print(f"Results: {out}/noise.json, {out}/noise.csv\nFigure: {out}/noise.svg")


def sentence(measures: dict) -> str:
    """The measures of one metric, as `repeatability.describe` has them, in words."""
    tau, shares = measures["kendall"]["mean"], measures["variance_share"]
    if tau is None:
        return "all candidates are equal."
    return (
        f"tau between two batches {tau:.2f}, the same winner on "
        f"{100 * measures['same_winner']:.0f} % of pairs; variance "
        f"{100 * shares['candidate']:.1f} % from the candidates, "
        f"{100 * shares['batch']:.1f} % from the batch, {100 * shares['rest']:.1f} % "
        f"residual; {_batches_needed(measures['batches_for'])}."
    )


def _batches_needed(goal: dict) -> str:
    batches, most = goal["batches"], goal["measured_up_to"]
    ranks = f"ranks a repeatability of {goal['reliability']}"
    if batches is None:
        return f"it takes more than {most} to give {ranks}"
    if batches == 1:
        return f"1 batch gives {ranks}"
    source = f" (extrapolated from sets of {most})" if batches > most else ""
    return f"{batches:,} batches give {ranks}{source}"
