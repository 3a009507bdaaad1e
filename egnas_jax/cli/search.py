"""The command that searches: `egnas search`."""

import argparse
import contextlib
import functools
import json
import pathlib
import statistics
import time

from egnas_jax.cli.console import (
    advising,
    check_run_options,
    run_folder,
    running,
    say,
    use_compilation_cache,
)


def search_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas search` takes."""
    add = parser.add_argument
    add(
        "--preset",
        default="digits",
        metavar="NAME",
        help="a whole run's settings (%(default)s)",
    )
    add(
        "--strategy",
        default="egnas",
        metavar="NAME",
        help="the search method (%(default)s)",
    )
    add("--variant", metavar="NAME", help="which reading of EG-NAS (paper)")
    add("--space", metavar="NAME", help="what a cell is built from (the preset's)")
    add("--data-dir", help="the only place to look for the data set")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="change one setting; --print-config lists them",
    )
    add(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="run N seeds; name the best by validation",
    )
    add("--out", help="run directory (default: runs/PRESET-seedN)")
    add("--resume", action="store_true", help="go on with a run")
    add("--restore", metavar="RUN", help="start from the state of another run")
    add(
        "--stop-after",
        type=int,
        metavar="N",
        help="end when N epochs are done, to be resumed",
    )
    add(
        "--distributed",
        action="store_true",
        help="one of several processes of one search",
    )
    add("--profile", metavar="DIR", help="write traces of a few steady calls")
    add("--print-config", action="store_true", help="print the configuration and leave")
    add("--json", action="store_true", help="print one JSON object and nothing else")


def search(options: argparse.Namespace) -> None:
    """Runs a search, with one seed or several, in one process or several."""
    from egnas_jax import settings
    from egnas_jax.cli import distributed
    from egnas_jax.runs import search_config
    from egnas_jax.training.processes import is_first

    check_run_options(options, ("out", "data_dir", "restore", "profile"))
    base = search_config.build(
        options.preset,
        options.strategy,
        options.variant,
        options.space,
        options.overrides,
    )
    if options.print_config:
        print(json.dumps(settings.as_dict(base), indent=2))
        return
    configs = [
        settings.apply_overrides(base, [f"seed={base.seed + i}"])
        for i in range(options.seeds)
    ]
    use_compilation_cache()
    with distributed.joined(options.distributed):
        results = _search_all(options, configs)
        if is_first():
            _show_all(results, as_json=options.json)


def _search_all(options, configs) -> list[dict | None]:
    """Summaries; None in a process that writes no run directory."""
    from egnas_jax.runs import directory
    from egnas_jax.training.processes import is_first, run_on_all

    folders = [run_folder(options, own.seed) if is_first() else None for own in configs]

    def check():
        for folder in filter(None, folders):  # before the first search, not after it
            directory.check_free(folder, resume=options.resume)

    run_on_all(check)
    return [
        _search_one(options, own, folder)
        for own, folder in zip(configs, folders, strict=True)
    ]


def _search_one(options, config, folder) -> dict | None:
    from egnas_jax.cli import distributed
    from egnas_jax.runs import directory, out_of_memory, search
    from egnas_jax.search import loop
    from egnas_jax.training.devices import describe
    from egnas_jax.training.processes import allgather_json, run_on_all

    started = time.perf_counter()
    config, prepared, start, wrap = run_on_all(
        lambda: _prepared(options, config, folder)
    )
    distributed.check_alike(config)
    stop_after = allgather_json(options.stop_after)[0]
    advise = functools.partial(out_of_memory.advice, config=config, run=prepared)
    mesh = describe(
        prepared.programs.mesh,
        getattr(config.strategy, "individuals", None),
        config.batch_size,
    )
    with contextlib.ExitStack() as stack:
        if folder:
            done = int(start.progress.state.epoch) if start.progress else 0
            trains = done < loop.last_epoch(prepared, stop_after)
            claim = directory.claim(config, folder, start.origin, mesh, trains=trains)
        run_on_all(lambda: stack.enter_context(claim) if folder else None)
        stack.enter_context(running())
        stack.enter_context(advising(advise))
        summary = search.execute(
            config, prepared, start, stop_after=stop_after, wrap=wrap
        )
    if summary is None:
        return None
    summary |= {
        "seed": config.seed,
        "run": str(folder),
        "wall": time.perf_counter() - started,
    }
    if not options.json:
        _show(summary)
    return summary


def _prepared(options, config, folder):
    """The configuration with its data, the run, where it starts, and what its compiled
    programs are wrapped in."""
    from egnas_jax.runs import directory, search_resume
    from egnas_jax.runs.search_setup import prepare

    report = reporter(config, quiet=options.json or not folder)
    config, prepared = prepare(config, options.data_dir, folder, report)
    if not folder:
        return config, prepared, search_resume.Start(None), _unchanged
    directory.check_configuration(config, folder)
    start = search_resume.find_start(prepared, options.restore, resume=options.resume)
    wrap = _traces(options, config, start) if options.profile else _unchanged
    return config, prepared, start, wrap


def _unchanged(programs):
    return programs


def _show_all(results, *, as_json: bool) -> None:
    """The best of several seeds, or all as JSON."""
    best = max(results, key=lambda summary: summary["valid_accuracy"])
    if as_json:
        print(json.dumps(best | {"runs": results}))
    elif len(results) > 1:
        for summary in results:
            print(
                f"seed {summary['seed']}: {100 * summary['valid_accuracy']:.2f} %  "
                f"{summary['run']}"
            )
        print(f"Best by validation accuracy: seed {best['seed']}, {best['run']}")


def _traces(options, config, start):
    """Makes programs trace; each of several seeds in a folder of its own."""
    from egnas_jax.search.profile import first_steady_epoch, profiled

    folder = pathlib.Path(options.profile)
    if options.seeds > 1:
        folder = folder / f"seed{config.seed}"
    done = int(start.progress.state.epoch) if start.progress else 0
    warmup = getattr(config.strategy, "warmup", 0)
    last = min(options.stop_after or config.epochs, config.epochs)
    epoch = first_steady_epoch(done, warmup, last)
    return functools.partial(profiled, folder=folder, epoch=epoch)


def reporter(config, quiet: bool):
    """Prints each epoch's line with the time that is left, and notes."""
    seconds = []

    def report(line):
        if isinstance(line, str):
            return say(line)
        seconds.append(line["seconds"])
        # the first epoch of a process compiles: it only bounds the others
        pace = statistics.median(seconds[1:][-3:] or seconds)
        bound = "about" if seconds[1:] else "at most"
        left = pace * (config.epochs - line["epoch"] - 1)
        if not quiet:
            train, valid = (
                f"{part} {line[f'{part}_loss']:.3f} "
                f"{100 * line[f'{part}_accuracy']:5.1f} %"
                for part in ("train", "valid")
            )
            say(
                f"epoch {line['epoch'] + 1:>3}/{config.epochs}  {train}  {valid}  "
                f"{line['seconds']:.1f} s, {bound} {left:.0f} s left"
            )

    return report


def _show(summary: dict) -> None:
    run = summary["run"]
    print(summary["genotype"])
    print(
        f"Validation accuracy {100 * summary['valid_accuracy']:.1f} % "
        f"(chance {100 * summary['chance']:.1f} %, first epoch "
        f"{100 * summary['first_valid_accuracy']:.1f} %) after {summary['epochs']} "
        f"epochs, {summary['wall']:.0f} s."
    )
    print(f"Run: {run}\nDrawing: {run}/genotype.svg")
