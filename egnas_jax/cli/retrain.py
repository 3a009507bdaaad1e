"""The commands that train and judge a found cell: `egnas retrain`."""

import argparse
import dataclasses
import functools
import json
import math
import pathlib
import statistics
import time

from egnas_jax.cli.console import (
    advising,
    check_run_options,
    read_genotype,
    run_folder,
    running,
    say,
    use_compilation_cache,
)


def retrain_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas retrain` takes."""
    add = parser.add_argument
    add(
        "--genotype",
        required=True,
        metavar="GENOTYPE",
        help="zoo name, text, file, or the run that found it",
    )
    add(
        "--preset",
        default="digits",
        metavar="NAME",
        help="a whole run's settings (%(default)s)",
    )
    add("--data-dir", help="the only place to look for the data set")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="change one setting; --print-config lists them",
    )
    add("--no-auxiliary", action="store_true", help="leave the auxiliary head out")
    add("--init-from", metavar="RUN", help="start with the weights of another network")
    add(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="train N seeds; a table of them in --out",
    )
    add("--out", help="run directory (default: runs/PRESET-seedN)")
    add("--resume", action="store_true", help="go on with a run")
    add(
        "--stop-after",
        type=int,
        metavar="N",
        help="end when N epochs are done, to be resumed",
    )
    add("--print-config", action="store_true", help="print the configuration and leave")
    add("--json", action="store_true", help="print one JSON object and nothing else")


def retrain(options: argparse.Namespace) -> None:
    """Trains a genotype from scratch, one seed or several."""
    from egnas_jax import settings
    from egnas_jax.runs import (
        directory,
        out_of_memory,
        retrain,
        retrain_config,
    )
    from egnas_jax.studies import retrain_seeds

    check_run_options(options, ("out", "data_dir", "init_from"))
    found = pathlib.Path(options.genotype)
    origin = found if len(options.genotype) < 256 and found.is_dir() else None
    init_from = options.init_from and str(pathlib.Path(options.init_from).resolve())
    base = retrain_config.build(
        read_genotype(options.genotype),
        options.preset,
        auxiliary=not options.no_auxiliary,
        init_from=init_from,
        overrides=[*_split_of(origin), *options.overrides],
    )
    if options.print_config:
        print(json.dumps(settings.as_dict(base), indent=2))
        return
    if options.seeds > 1 and not options.out:
        options.out = f"runs/{options.preset}-retrain"
    configs = [
        settings.apply_overrides(base, [f"seed={base.seed + i}"])
        for i in range(options.seeds)
    ]
    folders = [run_folder(options, own.seed) for own in configs]
    if options.seeds > 1:
        _check_place_of_table(pathlib.Path(options.out))
    for folder in folders:  # before the first run, not after it
        directory.check_free(folder, resume=options.resume)
    use_compilation_cache()
    results = []
    for own, folder in zip(configs, folders, strict=True):
        report = _reporter(own, quiet=options.json)
        own, prepared, model = retrain.prepare(
            own, options.data_dir, folder, report, _search_seconds(origin)
        )
        for other, place in zip(configs, folders, strict=True):
            # all of them before the first one trains; they differ in the seed alone
            other = dataclasses.replace(own, seed=other.seed)
            directory.check_configuration(other, place, retrain_config.from_dict)
        state = retrain.find_start(prepared, resume=options.resume)
        state = retrain.first_state(prepared) if state is None else state
        advise = functools.partial(
            out_of_memory.retrain_advice, config=own, folder=folder
        )
        goal = min(own.epochs, options.stop_after or own.epochs)
        trains = int(state.step) < goal * prepared.feed.num_steps
        claim = directory.claim(own, folder, trains=trains)
        with claim, running(), advising(advise):
            summary = retrain.execute(
                prepared, model, state, stop_after=options.stop_after
            )
        results.append(summary | {"seed": own.seed, "run": str(folder)})
    whole = retrain_seeds.aggregate(results)
    if options.seeds > 1:
        retrain_seeds.write(pathlib.Path(options.out), whole)
    print(json.dumps(whole) if options.json else retrain_seeds.markdown(whole), end="")


def _check_place_of_table(folder: pathlib.Path) -> None:
    """Refuses a run's own directory, whose summary the table's would replace.

    Raises:
      ValueError: as said.
    """
    if (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds a run already, and several seeds take a directory of "
            f"their own. Name another --out, or leave --seeds out."
        )


def _split_of(origin: pathlib.Path | None) -> list[str]:
    """Settings that keep the images that a search never saw for the test."""
    stored = _read(origin, "config.json")
    seed = stored.get("split_seed", stored.get("seed"))
    return [] if seed is None else [f"split_seed={seed}"]


def _search_seconds(origin: pathlib.Path | None) -> float | None:
    """What the search took that a run directory holds.

    Raises:
      ValueError: the file was altered.
    """
    summary = _read(origin, "summary.json")
    seconds = summary.get("search_seconds", summary.get("seconds"))
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise ValueError(
            f"{origin / 'summary.json'} was altered: its seconds are {seconds!r}, and "
            f"should be a number from 0. Name another run, or its genotype.json alone."
        )
    return seconds


def _read(origin: pathlib.Path | None, name: str) -> dict:
    """An object that a run directory holds, empty where it has none.

    Raises:
      ValueError: the file was altered.
    """
    if origin is None or not (origin / name).is_file():
        return {}
    try:
        return dict(json.loads((origin / name).read_text()))
    except (ValueError, TypeError):
        raise ValueError(
            f"{origin / name} was altered: it holds no JSON object. Name another run, "
            f"or its genotype.json alone."
        ) from None


def _reporter(config, quiet: bool):
    """Prints each epoch's line with the time that is left, and notes."""
    seconds, started = [], time.perf_counter()

    def report(line):
        if isinstance(line, str):
            return say(line)
        seconds.append(line["seconds"])
        if quiet:
            return None
        # the first epochs of a process compile: the last ones tell the pace
        left = statistics.median(seconds[-3:]) * (config.epochs - line["epoch"] - 1)
        tested = line["test_error"]
        shown = "" if tested is None else f"  test error {100 * tested:.2f} %"
        return say(
            f"epoch {line['epoch'] + 1:>3}/{config.epochs}  train "
            f"{line['train_loss']:.3f} {100 * line['train_accuracy']:5.1f} %{shown}  "
            f"{time.perf_counter() - started:.0f} s, about {left:.0f} s left"
        )

    return report
