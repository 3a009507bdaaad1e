"""Runs `egnas search` over seeds and settings, several searches as one program."""

import argparse
import contextlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from egnas_jax.cli.console import DONE, FAILED, say, use_compilation_cache
from egnas_jax.cli.run_folders import default_folder
from egnas_jax.cli.start_display import StartDisplay
from egnas_jax.runs.sweep_configs import swept_configs, with_seeds

if TYPE_CHECKING:  # importing it imports JAX
    from egnas_jax.runs.search_config import SearchConfig
    from egnas_jax.runs.searches import SearchesResult
    from egnas_jax.runs.sweep_configs import MakeConfig

MODES = ("auto", "on", "off")
# that choose many settings at once
OPTIONS = ("preset", "strategy", "variant", "space")


def many_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that concern several searches."""
    add_batched(parser, "searches")
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="PATH=V1,V2,...",
        help="search with every value, and every combination of several --sweep",
    )


def add_batched(parser: argparse.ArgumentParser, what: str, **options: str) -> None:
    """Adds the argument `--batched`, which `read_batched` reads.

    Args:
      parser: parser of a command that runs several.
      what: what messages call the runs, in the plural.
      options: further arguments of `add_argument`.
    """
    text = f"run the {what} as one program: all, or K at a time (off)"
    parser.add_argument("--batched", metavar="auto|on|off|K", help=text, **options)


def has_sweep(options: argparse.Namespace) -> bool:
    """Whether a search is one of several that this module runs."""
    return bool(options.sweep) or options.batched is not None


def check_sweep(options: argparse.Namespace) -> None:
    """Refuses options of several searches before JAX is imported.

    Raises:
      ValueError: an option cannot be read, or does not go with several searches.
    """
    if not has_sweep(options):
        return
    read_batched(options.batched)
    fixed = {entry.partition("=")[0] for entry in options.overrides}
    for path, _ in read_sweep(options.sweep):
        if path in OPTIONS:
            raise ValueError(
                f"--sweep varies settings, and {path} is none: --{path} chooses it. "
                f"Run a command for each, or write a [[search]] for each into the plan "
                f"of `egnas sweep`."
            )
        if path in fixed:
            raise ValueError(
                f"--sweep and --set both give {path}. Leave one of the two out."
            )
        if path == "seed" and options.seeds > 1:
            raise ValueError(
                f"--sweep sets the seed and --seeds is {options.seeds}. Leave one of "
                f"the two out."
            )
    for name in ("restore", "profile", "distributed"):
        if getattr(options, name):
            raise ValueError(
                f"--{name} is for one search, and --sweep or --batched are for "
                f"several. Leave --{name} out, or the others."
            )


def read_batched(text: str | None) -> str | int:
    """Reads the value of `--batched`; None is "off".

    Raises:
      ValueError: it is no mode and no number from 1.
    """
    if text is None or text in MODES:
        return text or "off"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(
            f"--batched is {text!r}, but must be {', '.join(MODES)}, or a number of "
            f"runs at a time from 1."
        )
    return int(text)


def read_sweep(entries: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Splits "path=v1,v2" entries of `--sweep` into paths and texts of values.

    Raises:
      ValueError: an entry has no "=", no value or an empty one, or comes twice.
    """
    sweep = []
    for entry in entries:
        path, separator, text = entry.partition("=")
        values = text.split(",")
        if not separator or not path or not all(values):
            raise ValueError(
                f"--sweep takes PATH=V1,V2,..., got {entry!r}. Values have no commas."
            )
        if path in (other for other, _ in sweep):
            raise ValueError(
                f"--sweep has {path} twice. Give all its values at once: "
                f"{path}=V1,V2,..."
            )
        sweep.append((path, values))
    return sweep


def check_began_alone(
    folders: Sequence[pathlib.Path | None], devices: int | None
) -> None:
    """Refuses to go on one after another with runs that began as one program.

    Args:
      folders: of a command without `--batched`; None in a process that writes nothing.
      devices: number of devices that would divide a batch; None for all of this
        process.

    Raises:
      ValueError: names the value of `--batched` that goes on with them.
    """
    import jax

    from egnas_jax.runs.batch_shape import ONE_BY_ONE, chosen_width

    if len(folders) > 1:
        devices = devices or jax.local_device_count()
        chosen_width(folders, "off", devices, lambda: ONE_BY_ONE)


def configurations(
    make: "MakeConfig", sweep: Sequence[tuple[str, list[str]]], seeds: int
) -> list["SearchConfig"]:
    """Returns the configuration of every combination with every seed.

    Args:
      make: settings -> the configuration of the whole command with them; its seed is
        the first.
      sweep: from `read_sweep`.
      seeds: number of seeds.

    Raises:
      ValueError: an unknown path, a value of the wrong type or out of range, or two
        values that are the same.
    """
    configs = swept_configs(make, dict(sweep))
    return [each for config in configs for each in with_seeds(config, seeds)]


def search_many(
    options: argparse.Namespace,
    make: "MakeConfig",
    describe_epoch: Callable[[dict, int], str],
) -> int:
    """Runs the searches of a command, compares their settings, and returns its code.

    Args:
      options: of `egnas search`.
      make: settings of the sweep -> the configuration with them.
      describe_epoch: (record, epochs of the search) -> a line.
    """
    from egnas_jax.runs.searches import run_names, run_searches

    configs = configurations(make, read_sweep(options.sweep), options.seeds)
    names = run_names(configs)

    def on_epoch(index: int, record: dict) -> None:
        if not options.json:
            say(f"{names[index]}: {describe_epoch(record, configs[index].epochs)}")

    use_compilation_cache()
    with _folder(options) as folder:
        with StartDisplay(quiet=options.json, folder=folder) as display:
            searches = run_searches(
                configs,
                folder,
                batched=read_batched(options.batched),
                data_dir=options.data_dir,
                resume=options.resume,
                stop_after=options.stop_after,
                on_epoch=on_epoch,
                log=say,
                monitor=display,
            )
        _show(options, configs, searches, folder)
    return FAILED if searches.errors else DONE


def _folder(options) -> contextlib.AbstractContextManager[pathlib.Path]:
    """The common directory of the runs."""
    if options.out:
        return contextlib.nullcontext(pathlib.Path(options.out))
    return default_folder(options, f"{options.preset}-searches")


def _show(options, configs, searches: "SearchesResult", folder: pathlib.Path) -> None:
    """Writes the comparison of the settings, and prints it."""
    from egnas_jax.studies import search_comparison

    seeds = [config.seed for config in configs]
    settings = search_comparison.compare_settings(
        searches.labels, seeds, searches.results
    )
    paths = search_comparison.write_comparison(folder, settings)
    ended = [result for result in searches.results if result is not None]
    best = max(ended, key=lambda result: result.valid_accuracy, default=None)
    if options.json:
        content = search_comparison.as_json(settings)
        best = best and best.summary | {"run": str(best.folder)}
        print(json.dumps(content | {"best": best, "at_a_time": searches.width}))
        return
    print(search_comparison.as_table(settings), end="")
    if best is not None:
        accuracy = 100 * best.valid_accuracy
        print(f"Best by validation accuracy: {accuracy:.2f} %, {best.folder}")
    print(f"Comparison: {paths[1]}")
