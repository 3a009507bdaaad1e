"""The command that measures what one fitness batch is worth: `egnas noise`."""

import argparse
import json
import pathlib

from egnas_jax.cli.console import (
    check_folders,
    check_writable,
    running,
    say,
    use_compilation_cache,
)


def noise_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas noise` takes."""
    add = parser.add_argument
    add("run", metavar="RUN", help="what `egnas search` wrote")
    add("--data-dir", help="where the run's data are")
    add(
        "--candidates",
        metavar="KIND",
        help="individuals (of EG-NAS, its default) or cells",
    )
    add("--individuals", type=int, metavar="P", help="how many (the run's population)")
    add("--batches", type=int, metavar="M", help="how many batches (up to 20)")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="images of each (the run's fitness batch)",
    )
    add(
        "--reliability",
        type=float,
        default=0.9,
        metavar="R",
        help="count the batches for this repeatability of ranks (%(default)s)",
    )
    add("--seed", type=int, default=0, help="of candidates and batches (%(default)s)")
    add(
        "--out",
        metavar="DIR",
        help="where noise.json, .csv and .svg go (default: into RUN)",
    )
    add("--json", action="store_true", help="print one JSON object and nothing else")


def noise(options: argparse.Namespace) -> None:
    """Candidates x batches under a run's newest weights, and what they say."""
    from egnas_jax.storage import records
    from egnas_jax.studies.noise.figure import draw_noise
    from egnas_jax.studies.noise.study import Request, study, write

    check_folders(options, ("out", "data_dir"))
    folder = pathlib.Path(options.run)
    for name in ("individuals", "batches", "batch_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(
                f"--{name.replace('_', '-')} is {value}, but must be at least 1."
            )
    if options.seed < 0:
        raise ValueError(f"--seed is {options.seed}, but must be at least 0.")
    request = Request(
        options.candidates,
        options.individuals,
        options.batches,
        options.batch_size,
        options.reliability,
        options.seed,
    )
    place = folder if options.out is None else pathlib.Path(options.out)
    check_writable(place)
    use_compilation_cache()
    done = study(folder, options.data_dir, request, say)
    with running():
        write(place, done, draw_noise(done.result, done.matrices))
    if options.json:
        print(json.dumps(records.plain(done.result)))
    else:
        _show(done.result, place)


def _show(result: dict, place: pathlib.Path) -> None:
    print(
        f"{result['size']} {result['candidates']} on {result['batches']} batches of "
        f"{result['batch_size']} images, after {result['epochs']} epochs:"
    )
    for name, parts in result["statistics"].items():
        for part, one in parts.items():
            print(f"  {name} statistics, {part.replace('_', ' ')}: {_sentence(one)}")
    for part, one in result["running_against_batch"].items():
        tau = one["kendall_on_all"]
        shown = "undefined" if tau is None else f"{tau:.2f}"
        print(
            f"  running against batch statistics, {part.replace('_', ' ')}: tau on "
            f"all batches {shown}"
        )
    if result["not_finite"]:
        print(f"  {result['not_finite']} candidates were not finite and left out.")
    print(f"Figures: {place}/noise.json, {place}/noise.csv\nPicture: {place}/noise.svg")


def _sentence(one: dict) -> str:
    tau, shares = one["kendall"]["mean"], one["variance_share"]
    if tau is None:
        return "all candidates are equal."
    wanted = one["batches_for"]
    batches, most = wanted["batches"], wanted["measured_up_to"]
    needed = (
        f"it takes more than {most} to give"
        if batches is None
        else "1 batch gives"
        if batches == 1
        else f"{batches:,} batches give"
    )
    beyond = f" (extrapolated from sets of {most})" if (batches or 0) > most else ""
    return (
        f"tau between two batches {tau:.2f}, the same winner on "
        f"{100 * one['same_winner']:.0f} % of pairs; variance "
        f"{100 * shares['candidate']:.1f} % from the candidates, "
        f"{100 * shares['batch']:.1f} % from the batch, {100 * shares['rest']:.1f} % "
        f"left over; {needed} ranks a repeatability of "
        f"{wanted['reliability']}{beyond}."
    )
