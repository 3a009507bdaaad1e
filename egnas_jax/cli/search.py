"""Implements the command that searches: `egnas search`."""

import argparse
import contextlib
import json
import pathlib
import time
from collections.abc import Mapping

from egnas_jax.cli.console import (
    check_run,
    check_run_options,
    say,
    use_compilation_cache,
)
from egnas_jax.cli.epoch_bars import EpochBars
from egnas_jax.cli.epoch_lines import search_line
from egnas_jax.cli.run_folders import run_folders
from egnas_jax.cli.search_many import (
    check_began_alone,
    check_sweep,
    configurations,
    has_sweep,
    many_arguments,
    read_sweep,
    search_many,
)
from egnas_jax.cli.start_display import StartDisplay, waiting_for
from egnas_jax.lookup import check_known
from egnas_jax.runs.presets import PRESETS
from egnas_jax.runs.sweep_configs import with_seeds
from egnas_jax.space import SPACES
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.egnas.variants import VARIANTS


def search_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas search`."""
    add = parser.add_argument
    add("--preset", default="digits", metavar="NAME", help="settings (%(default)s)")
    add("--strategy", default="egnas", metavar="NAME", help="method (%(default)s)")
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
    text = "run N seeds; name the best by validation"
    add("--seeds", type=int, default=1, metavar="N", help=text)
    many_arguments(parser)
    add("--out", help="run directory (default: runs/PRESET-seedN)")
    add("--resume", action="store_true", help="go on with a run")
    add("--restore", metavar="RUN", help="start from the state of another run")
    text = "end when N epochs are done, to be resumed"
    add("--stop-after", type=int, metavar="N", help=text)
    text = "one of several processes of one search"
    add("--distributed", action="store_true", help=text)
    add("--profile", metavar="DIR", help="write traces of a few steady calls")
    add("--print-config", action="store_true", help="print the configuration and exit")
    add("--json", action="store_true", help="print one JSON object and nothing else")


def search(options: argparse.Namespace) -> int | None:
    """Runs a search, with one seed or several, in one process or several.

    Returns:
      The exit code; None is that of success.
    """
    check_run_options(options, ("out", "data_dir", "restore", "profile"))
    check_sweep(options)
    _check_names(options)
    if options.restore is not None and not options.resume:
        check_run(options.restore)
    quiet = options.json or options.print_config or options.distributed
    with waiting_for("Loading JAX", quiet=quiet):
        from egnas_jax.cli import distributed
        from egnas_jax.runs.schedule_checks import check_schedule
        from egnas_jax.runs.search import run_search  # noqa: F401  loads all of it
        from egnas_jax.runs.search_config import SearchConfig, search_config
        from egnas_jax.settings import as_dict, assignments
        from egnas_jax.training.processes import is_first

    def make(settings: Mapping[str, str]) -> SearchConfig:
        return search_config(
            options.preset,
            strategy=options.strategy,
            variant=options.variant,
            space=options.space,
            settings={**assignments(options.overrides), **settings},
        )

    base = make({})
    if options.print_config:
        for config in configurations(make, read_sweep(options.sweep), options.seeds):
            check_schedule(config)
        print(json.dumps(as_dict(base), indent=2))
        return None
    if has_sweep(options):
        return search_many(options, make, search_line)
    configs = with_seeds(base, options.seeds)
    use_compilation_cache()
    with distributed.joined(options.distributed):
        summaries = _search_all(options, configs)
        if is_first():
            _show_all(summaries, as_json=options.json)
    return None


def _check_names(options) -> None:
    """Refuses unknown names before anything that imports JAX is imported."""
    check_known(PRESETS, options.preset, "preset")
    check_known(STRATEGIES, options.strategy, "strategy")
    for table, name, what in (
        (VARIANTS, options.variant, "variant"),
        (SPACES, options.space, "space"),
    ):
        if name is not None:
            check_known(table, name, what)


def _search_all(options, configs) -> list[dict]:
    """Summaries of the searches; {} in a process that writes no run directory."""
    from egnas_jax.runs.directory import check_free
    from egnas_jax.training.processes import is_first, run_on_all

    def choose() -> list[pathlib.Path | None]:
        if not is_first():
            return [None] * len(configs)
        seeds = [config.seed for config in configs]
        folders = stack.enter_context(run_folders(options, seeds))
        for folder in folders:  # before the first search, not after it
            check_free(folder, resume=options.resume)
        check_began_alone(folders, configs[0].devices)
        return folders

    with contextlib.ExitStack() as stack:
        folders = run_on_all(choose)
        return [
            _search_one(options, config, folder)
            for config, folder in zip(configs, folders, strict=True)
        ]


def _search_one(options, config, folder: pathlib.Path | None) -> dict:
    from egnas_jax.runs.search import run_search

    started = time.perf_counter()
    quiet = options.json or folder is None
    with (
        EpochBars(config.epochs, search_line, quiet=quiet) as bars,
        StartDisplay(quiet=quiet, folder=folder, pause=bars.hidden) as display,
    ):
        result = run_search(
            config,
            out=folder,
            data_dir=options.data_dir,
            resume=options.resume,
            restore=options.restore,
            stop_after=options.stop_after,
            profile=_profile_folder(options, config.seed),
            on_steps=bars.on_steps,
            on_epoch=bars.on_epoch,
            log=say,
            monitor=display,
        )
    if folder is None:
        return {}
    summary = result.summary | {
        "seed": config.seed,
        "run": str(folder),
        "wall": time.perf_counter() - started,
    }
    if not options.json:
        _show(summary)
    return summary


def _profile_folder(options, seed: int) -> pathlib.Path | None:
    """Where traces go: each of several seeds has a folder of its own."""
    if options.profile is None or options.seeds == 1:
        return options.profile and pathlib.Path(options.profile)
    return pathlib.Path(options.profile) / f"seed{seed}"


def _show_all(summaries: list[dict], *, as_json: bool) -> None:
    """Prints the best of several seeds, or all as JSON."""
    best = max(summaries, key=lambda summary: summary["valid_accuracy"])
    if as_json:
        print(json.dumps(best | {"runs": summaries}))
    elif len(summaries) > 1:
        for summary in summaries:
            accuracy = 100 * summary["valid_accuracy"]
            print(f"seed {summary['seed']}: {accuracy:.2f} %  {summary['run']}")
        print(f"Best by validation accuracy: seed {best['seed']}, {best['run']}")


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
