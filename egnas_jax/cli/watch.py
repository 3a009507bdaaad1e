"""Implements `egnas watch`, which follows runs that other processes carry out.

It reads what those processes write, holds no lock and needs no JAX. So it can run
beside them on the same machine, or on another one of the same file system.
"""

import argparse
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from egnas_jax.cli.console import check_run, say
from egnas_jax.cli.epoch_bars import EpochBars
from egnas_jax.cli.epoch_lines import line_of
from egnas_jax.storage import records
from egnas_jax.storage.lock import is_taken

POLL = 1.0  # seconds between two looks
PATIENCE = 15.0  # seconds without a running process that end it
CONFIG, METRICS = "config.json", "metrics.jsonl"


def watch_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas watch`."""
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run directory, or folder of runs")
    add("--once", action="store_true", help="print where the runs stand, and exit")


def watch(options: argparse.Namespace) -> None:
    """Follows runs until no process carries one out, and prints their progress."""
    for name in options.runs:
        check_run(name)
    if not _folders(options.runs):
        raise ValueError(
            f"{', '.join(options.runs)} holds no run: there is no {CONFIG}. Name a "
            f"directory that `egnas search` or `egnas retrain` writes."
        )
    if not options.once:
        _follow(options.runs)
    for state in map(read_state, _folders(options.runs)):
        print(state.line())


class RunState(NamedTuple):
    """The progress of a run.

    Attributes:
      folder: its directory.
      epochs: of the whole run.
      records: of the epochs that are done.
      is_running: whether a process carries it out.
      problem: why its files cannot be read; None if they can.
    """

    folder: pathlib.Path
    epochs: int
    records: list[dict]
    is_running: bool
    problem: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether no epoch is left."""
        last = self.records[-1] if self.records else {}
        return len(self.records) >= self.epochs or "early_stop" in last

    def line(self) -> str:
        """The state in words."""
        ended = "done" if self.is_done else "stopped"
        word = "running" if self.is_running else ended
        what = self.problem or "no epoch yet"
        if self.records:
            what = _line(self.records[-1], self.epochs)
        return f"{self.folder}: {word}, {what}"


def read_state(folder: pathlib.Path) -> RunState:
    """Reads the progress of a run; files that were altered are its `problem`.

    Args:
      folder: run directory.
    """
    # in this order, since an epoch may end meanwhile
    state = RunState(folder, 0, [], is_running=is_taken(folder))
    try:
        stored = records.read_object(folder / CONFIG)
        state = state._replace(epochs=int(stored.get("epochs", 0)))
        done = records.read(folder / METRICS)
        for record in done:
            _line(record, state.epochs)
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = f"its files were altered: {type(error).__name__}: {error}"
        return state._replace(problem=what)
    return state._replace(records=done)


def _folders(names: Sequence[str]) -> list[pathlib.Path]:
    """Run directories among these folders, and below those of several runs."""

    def found() -> Iterator[pathlib.Path]:
        for name in names:
            for level in (CONFIG, f"*/{CONFIG}", f"*/*/{CONFIG}"):
                yield from sorted(pathlib.Path(name).glob(level))

    return list(dict.fromkeys(path.parent for path in found()))


def _follow(names: Sequence[str]) -> None:
    """Shows every epoch as it ends, until no process carries out a run."""
    shown: dict[pathlib.Path, int] = {}
    last_running = time.monotonic()
    first = read_state(_folders(names)[0])
    # folders of runs may get more of them
    are_runs = all((pathlib.Path(name) / CONFIG).exists() for name in names)
    has_bars = are_runs and len(set(names)) == 1
    with EpochBars(first.epochs, _line) as bars:
        while True:
            states = [read_state(folder) for folder in _folders(names)]
            for state in states:
                _show_new(state, shown, bars if has_bars else None)
            if any(state.is_running for state in states):
                last_running = time.monotonic()
            elif are_runs and all(state.is_done for state in states):
                break
            if time.monotonic() - last_running >= PATIENCE:
                break
            time.sleep(POLL)


def _show_new(
    state: RunState, shown: dict[pathlib.Path, int], bars: EpochBars | None
) -> None:
    """Shows the epochs of a run that have ended since the last look."""
    if state.problem is not None:
        return  # a network file system may fail for a moment
    new = state.records[shown.get(state.folder, 0) :]
    for record in new:
        if bars is not None:
            bars.on_epoch(record, is_newest=record is new[-1])
        else:
            say(f"{state.folder}: {_line(record, state.epochs)}")
    shown[state.folder] = len(state.records)


def _line(record: dict, epochs: int) -> str:
    return line_of(record)(record, epochs)
