"""Chooses the directories of runs, so that two jobs never take the same default."""

import argparse
import contextlib
import pathlib
from collections.abc import Iterator, Sequence

from egnas_jax.cli.console import check_writable

RUNS = pathlib.Path("runs")


@contextlib.contextmanager
def run_folders(
    options: argparse.Namespace, seeds: Sequence[int]
) -> Iterator[list[pathlib.Path]]:
    """Context that gives the directory of each seed's run.

    Without `--out` a directory is made at once, and a name that is taken gets a number.
    Those that are still empty at the end are removed.

    Args:
      options: of a command that trains; has `out`, `preset`, `seeds`, `resume`.
      seeds: of the runs.

    Raises:
      ValueError: the default directories cannot be made.
    """
    if options.out:
        out = pathlib.Path(options.out)
        several = options.seeds > 1
        yield [out / f"seed{seed}" if several else out for seed in seeds]
        return
    names = [f"{options.preset}-seed{seed}" for seed in seeds]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(default_folder(options, name)) for name in names]


@contextlib.contextmanager
def default_folder(options: argparse.Namespace, name: str) -> Iterator[pathlib.Path]:
    """Context that gives runs/NAME, or runs/NAME-2 and so on where that is taken.

    Args:
      options: of a command that trains; has `resume`, which takes the first name.
      name: of the directory.

    Raises:
      ValueError: the directory cannot be made.
    """
    if options.resume:
        yield RUNS / name
        return
    check_writable(RUNS)
    is_new = not RUNS.exists()
    folder = _made(name)
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # they are not empty
            folder.rmdir()
            if is_new:
                RUNS.rmdir()


def _made(name: str) -> pathlib.Path:
    """Creates the first directory that does not exist; no other job gets the same."""
    folder, number = RUNS / name, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = RUNS / f"{name}-{number}"
