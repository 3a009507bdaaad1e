"""Replays a search and compares its digests: the command `egnas verify`."""

import argparse
import pathlib

from egnas_jax.cli.console import (
    DONE,
    FAILED,
    add_data_arguments,
    check_folders,
    check_run,
    say,
    use_compilation_cache,
)
from egnas_jax.cli.epoch_bars import EpochBars
from egnas_jax.cli.epoch_lines import search_line


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas verify`."""
    add = parser.add_argument
    add("run", metavar="RUN")
    add_data_arguments(parser)
    text = "replay every epoch, not only those since the oldest checkpoint"
    add("--from-start", action="store_true", help=text)


def verify(options: argparse.Namespace) -> int:
    """Replays the epochs of a search.

    Returns:
      The exit code.
    """
    check_run(options.run)
    check_folders(options, ("data_dir",))
    from egnas_jax.runs.data import with_moved_data
    from egnas_jax.runs.directory import stored_config
    from egnas_jax.runs.verify import verify_run
    from egnas_jax.settings import assignments

    folder = pathlib.Path(options.run)
    config = with_moved_data(stored_config(folder), assignments(options.overrides))
    use_compilation_cache()
    with EpochBars(config.epochs, search_line) as bars:
        first, last, wrong = verify_run(
            config,
            folder,
            data_dir=options.data_dir,
            from_start=options.from_start,
            on_epoch=bars.on_epoch,
            log=say,
        )
    for line in wrong:
        say(line)
    replayed = f"Epochs {first + 1} to {last + 1} were replayed"
    if wrong:
        print(f"{replayed}; {len(wrong)} came out different.")
        say(
            "Digests hold for the commit, versions, processor and flags in "
            "environment.json."
        )
        return FAILED
    print(f"{replayed}; every digest is the same.")
    if first > 0:
        say("--from-start replays the epochs before them too.")
    return DONE
