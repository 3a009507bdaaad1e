"""Serves all commands: messages, run directories, genotypes by any name."""

import argparse
import os
import pathlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the package is imported late, so that --help is quick
    from egnas_jax.space import Genotype, Topology

DONE, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130  # exit codes


def say(text: str) -> None:
    """Prints a line on stderr."""
    print(text, file=sys.stderr, flush=True)


def make_printable() -> None:
    """Makes printing never fail.

    Stdout replaces characters that its encoding lacks. The environment chooses the
    encoding (PYTHONIOENCODING, LC_ALL). A process without stderr, such as a daemon,
    loses what is written there.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's has no encoding
        sys.stdout.reconfigure(errors="replace")


def check_run_options(options: argparse.Namespace, folders: tuple[str, ...]) -> None:
    """Refuses numbers below 1 and empty names of directories.

    Args:
      options: of a command that trains; has `seeds` and `stop_after`.
      folders: names of the options that are directories.

    Raises:
      ValueError: an option cannot be used.
    """
    if options.seeds < 1:
        raise ValueError(f"--seeds is {options.seeds}, but must be at least 1.")
    if options.stop_after is not None and options.stop_after < 1:
        raise ValueError(
            f"--stop-after is {options.stop_after}, but must be at least 1 epoch."
        )
    check_folders(options, folders)


def check_folders(options: argparse.Namespace, folders: tuple[str, ...]) -> None:
    """Refuses empty names of directories, which would mean the current one.

    Raises:
      ValueError: a name is empty.
    """
    for name in folders:
        if getattr(options, name) == "":
            raise ValueError(f"--{name.replace('_', '-')} is empty; name a directory.")


def check_run(name: str) -> None:
    """Refuses what cannot be a run directory, before JAX is imported to read it.

    Raises:
      ValueError: there is no directory of that name.
    """
    if not pathlib.Path(name).is_dir():
        what = "is no directory" if pathlib.Path(name).exists() else "does not exist"
        raise ValueError(
            f"{name!r} {what}, so it holds no run. Name a directory that `egnas "
            f"search` or `egnas retrain` wrote."
        )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say where the data of a stored run lie now."""
    text = "folder of the run's data, if they were moved"
    parser.add_argument("--data-dir", help=text)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="data.path=FILE.npz: where the run's own file lies now",
    )


def check_writable(folder: pathlib.Path) -> None:
    """Refuses a place that cannot hold results, before they are computed.

    Nothing is created.

    Raises:
      ValueError: it is no directory, or could not be made or written to.
    """
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ValueError(
            f"{folder} cannot be written: {nearest} is no writable directory. Name "
            f"another --out."
        )


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX has another.

    JAX needs a flock to limit the size of the folder, and waits 10 s for every program
    where a dead process left the file that stands for the lock. So where there is no
    flock, the size has no limit.
    """
    import jax

    from egnas_jax.storage.lock import has_flock

    if jax.config.jax_compilation_cache_dir is None:
        try:  # an empty variable counts as unset
            base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        except RuntimeError:  # the user has no home
            return
        folder = pathlib.Path(base) / "egnas_jax"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        limit = 2**30 if has_flock(folder) else -1
        jax.config.update("jax_compilation_cache_max_size", limit)


def read_genotype(text: str) -> "Genotype | Topology":
    """Reads a genotype by any of its names; a note says which of several it is.

    Args:
      text: a zoo name, a text, a file that holds a genotype, or a run directory.

    Raises:
      ValueError: there is no such genotype, or it cannot be read.
    """
    from egnas_jax.runs import genotype_source

    return genotype_source.read_genotype(text, log=say)
