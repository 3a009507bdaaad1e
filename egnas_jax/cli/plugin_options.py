"""Implements `--plugin`, which every command has, and loads installed plug-ins."""

import argparse
import contextlib
import pathlib
from collections.abc import Iterator

from egnas_jax.cli.console import say
from egnas_jax.cli.run_folders import RUNS
from egnas_jax.cli.start_display import waiting_for
from egnas_jax.settings import assignments
from egnas_jax.strategies.egnas.variants import DEFAULT_SEEDS

_QUIET = ("json", "print_config", "distributed")  # options that show no progress


def add_plugin_argument(parser: argparse.ArgumentParser, dest: str) -> None:
    """Adds `--plugin`.

    Args:
      parser: of a command, or of all commands.
      dest: name of the list in the options; a command's would replace one of the same
        name that was given before the command.
    """
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        dest=dest,
        metavar="MODULE|FILE.py",
        help="load primitives, spaces, methods or presets of your own; repeatable",
    )


def add_plugin_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of a command that say which plug-ins it loads."""
    add_plugin_argument(parser, "plugins")
    parser.add_argument(
        "--allow-changed-plugin",
        action="store_true",
        help="read a run whose plug-in has changed since",
    )


@contextlib.contextmanager
def plugins_of_command(options: argparse.Namespace) -> Iterator[None]:
    """Context in which the plug-ins of a command are loaded.

    These are the installed ones, those that `--plugin` names, and those of runs that
    the command goes on with or takes a genotype from: it checks names before it reads
    such a run.

    Raises:
      ValueError: a plug-in is missing, has changed or cannot be loaded.
    """
    from egnas_jax.runs import plugin_records, plugins
    from egnas_jax.runs.genotype_source import plugins_of

    names = (*options.plugins_before, *options.plugins)
    quiet = not names or any(getattr(options, name, False) for name in _QUIET)
    with waiting_for("Loading plug-ins and JAX", quiet=quiet):
        plugins.load_installed(say)
        named = [plugins.load_plugin(name, log=say) for name in names]
    files = [plugin.file for plugin in named]
    with plugin_records.command(files, allow_changed=options.allow_changed_plugin):
        for folder in _runs_to_go_on_with(options):
            plugin_records.load_recorded(folder)
        if genotype := getattr(options, "genotype", None):
            plugin_records.also_needed(plugins_of(genotype))
        yield


def _runs_to_go_on_with(options: argparse.Namespace) -> list[pathlib.Path]:
    """Run directories that `--resume`, `--restore` and `--init-from` name."""
    names = [getattr(options, name, None) for name in ("restore", "init_from")]
    if getattr(options, "resume", False):
        names.append(options.out or _default_run(options))
    folders = [pathlib.Path(name) for name in names if name]
    return [run for folder in folders for run in (folder, *folder.glob("seed*"))]


def _default_run(options: argparse.Namespace) -> pathlib.Path | None:
    """The directory of a run without `--out`, by the seed that the command names.

    None for a command whose results are no run, such as the scores of proxies.
    """
    if "preset" not in options:
        return None
    seed = DEFAULT_SEEDS.get(getattr(options, "variant", None), 0)
    seed = assignments(options.overrides).get("seed", seed)
    return RUNS / f"{options.preset}-seed{seed}"
