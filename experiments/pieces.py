"""Runs of `egnas` in pieces of any length, one after another.

Each call carries the jobs forward from where the last call ended, also where that was
killed together with the run that it waited for; nothing is done twice, and no result
depends on where the pieces were cut.
"""

import argparse
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import methods

from egnas_jax.storage import records

INTERRUPTED = 130  # exit code of the command, and of a piece that is not the last
PATIENCE = 300  # seconds until a run that was asked to stop is asked again


class Job(NamedTuple):
    """A run.

    Attributes:
      command: of `egnas`, without its directory.
      folder: its directory.
      epochs: of the whole run.
    """

    command: tuple[str, ...]
    folder: pathlib.Path
    epochs: int


class Left(NamedTuple):
    """What is left of a piece.

    Attributes:
      deadline: of `time.monotonic`, or None.
      epochs: of all jobs together, or None.
      interrupted: whether a run was: by the deadline, Ctrl-C or SIGTERM.
    """

    deadline: float | None = None
    epochs: int | None = None
    interrupted: bool = False

    @property
    def over(self) -> bool:
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return late or self.interrupted or self.epochs == 0


class Terminated(SystemExit):
    """SIGTERM: the process is to end, its run with a checkpoint."""


def listen() -> None:
    """Makes SIGINT and SIGTERM heard, also where they were ignored (in the background,
    say), whose runs would inherit that."""

    def terminate(number, frame):
        raise Terminated(INTERRUPTED)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminate)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """The options that end a piece."""
    parser.add_argument(
        "--epochs-now",
        type=methods.counted,
        metavar="N",
        help="end this piece after N epochs of all runs",
    )
    parser.add_argument(
        "--minutes", type=_minutes, metavar="M", help="end this piece after so long"
    )


def _minutes(text: str) -> float:
    if not float(text) >= 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes")
    return float(text)


def limits(options: argparse.Namespace) -> Left:
    """What a piece may take, from now on."""
    minutes = options.minutes
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    return Left(deadline, options.epochs_now)


def run_until(command: Sequence[str], deadline: float | None) -> int:
    """Runs a command, and asks it to stop with a checkpoint when its time is up.

    Args:
      command: of `egnas`.
      deadline: of `time.monotonic`, or None.

    Returns:
      Its exit code; INTERRUPTED of one that was asked to stop, also where it came to
      its end all the same.
    """
    words = [sys.executable, "-m", "egnas_jax", *command]
    # epochs are told on stderr, and `progress` tells the outcome
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            return process.wait(left)
        except (subprocess.TimeoutExpired, Terminated):
            _ask(process)
        except KeyboardInterrupt:
            process.wait()  # it heard Ctrl-C itself; a second one would stop it at once
        # one that did not listen yet dies with a code of Python's; a failure of its own
        # would come again in the next piece
        return INTERRUPTED


def _ask(process: subprocess.Popen) -> None:
    """Sends SIGINT until a process ends: it may not listen yet, or lose one."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)


def carry(jobs: Sequence[Job], left: Left, run: Callable = run_until) -> Left:
    """Carries jobs forward, one after another, as far as a piece may.

    Args:
      jobs: in their order.
      left: of the piece.
      run: as `run_until`.

    Returns:
      What is left of the piece afterwards.

    Raises:
      SystemExit: a run failed, with its code; or another command filled a folder.
    """
    for job in jobs:
        done = epochs_of(job.folder)
        if methods.made_by(job.command, job.folder, "summary.json"):
            continue
        if left.over:
            break
        most = job.epochs if left.epochs is None else done + left.epochs
        stop = ["--stop-after", str(max(min(job.epochs, most), 1))]
        more = ["--resume"] if job.folder.exists() else []
        command = [*job.command, "--out", str(job.folder), *more, *stop]
        code = run(command, left.deadline)
        if code not in (0, INTERRUPTED):
            raise SystemExit(code)
        if summary_of(job):
            methods.note(job.command, job.folder)
        now = epochs_of(job.folder) - done
        left = left._replace(
            epochs=None if left.epochs is None else max(left.epochs - now, 0),
            interrupted=code == INTERRUPTED,
        )
    return left


def summary_of(job: Job) -> dict | None:
    """The summary of a run that has ended, or None.

    A piece that is interrupted leaves that of the piece before, also where its last
    epoch is recorded already.
    """
    path = job.folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    ended = summary.get("epochs") == job.epochs or summary.get("early_stop") is not None
    return summary if ended else None


def epochs_of(folder: pathlib.Path) -> int:
    """Epochs that a run has recorded."""
    path = folder / "metrics.jsonl"
    return len(records.read(path)) if path.exists() else 0


def progress(jobs: Sequence[Job]) -> str:
    """How far each job has come, a line each."""
    lines = []
    for job in jobs:
        text = f"{job.folder.name}: {epochs_of(job.folder)} of {job.epochs} epochs"
        summary = summary_of(job) or {}
        text += " (stopped early)" if summary.get("early_stop") is not None else ""
        if epochs_of(job.folder):
            epochs = records.read(job.folder / "metrics.jsonl")
            for name, label in (
                ("valid_accuracy", "validation accuracy"),
                ("test_error", "test error"),
            ):
                known = [one[name] for one in epochs if one.get(name) is not None]
                text += f", {label} {100 * known[-1]:.2f} %" if known else ""
            text += f", {sum(line['seconds'] for line in epochs):.0f} s"
        lines.append(text)
    return "\n".join(lines) + "\n"
