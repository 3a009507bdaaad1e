"""Carries runs forward in pieces of any length, one run after another.

Each call goes on where the last one ended, also where that was killed. Nothing is done
twice, and no result depends on where the pieces were cut.
"""

import argparse
import contextlib
import json
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import command_line
import ended_runs
import methods
from methods import Job

from egnas_jax.storage import records

INTERRUPTED = 130  # exit code of a piece that is not the last
PATIENCE = 300.0  # seconds until a run that was asked to stop is asked again
METRICS = {"valid_accuracy": "validation accuracy", "test_error": "test error"}


class Limits(NamedTuple):
    """What is left of a piece.

    Attributes:
      deadline: of `time.monotonic`, or None.
      epochs: of all jobs together, or None.
      interrupted: whether a run was, by the deadline, Ctrl-C or SIGTERM.
      ended: file to which runs are added that end, or None.
    """

    deadline: float | None = None
    epochs: int | None = None
    interrupted: bool = False
    ended: pathlib.Path | None = None

    @property
    def reached(self) -> bool:
        """Whether the piece ends before the next run."""
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return late or self.interrupted or self.epochs == 0


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a piece."""
    epochs = dict(type=command_line.positive, metavar="N")
    text = "end this piece after N epochs of all runs"
    parser.add_argument("--epochs-now", **epochs, help=text)
    minutes = dict(type=command_line.minutes, metavar="M")
    text = "end this piece after so many minutes"
    parser.add_argument("--minutes", **minutes, help=text)
    text = "take ended runs from this file, and add those that end (see ended_runs.py)"
    parser.add_argument(
        "--ended", type=command_line.absolute, metavar="FILE", help=text
    )


def begin(options: argparse.Namespace) -> Limits:
    """Takes the runs that ended elsewhere; returns the limits of a piece from now on.

    Raises:
      ValueError: the file of ended runs is another one, or its folder does not exist.
    """
    if options.ended:
        if not options.ended.parent.is_dir():
            raise ValueError(
                f"--ended {options.ended}: its folder does not exist. Make it, or name "
                f"another file."
            )
        ended_runs.take(options.ended, options.out)
    minutes = options.minutes
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    return Limits(deadline, options.epochs_now, ended=options.ended)


def run_until(run: Callable[[], object], deadline: float | None) -> bool:
    """Runs, and interrupts with a checkpoint when the time is up.

    A run that handles SIGINT stops at its next checkpoint. The deadline and SIGTERM
    send it that signal; they send it again after `PATIENCE`, since code that is not
    Python may lose the first one.

    Args:
      run: what is run.
      deadline: of `time.monotonic`, or None.

    Returns:
      Whether it was interrupted.
    """
    with _interrupts(deadline):
        try:
            run()
        except KeyboardInterrupt:
            return True
    return False


@contextlib.contextmanager
def _interrupts(deadline: float | None) -> Iterator[None]:
    """A context in which the deadline and SIGTERM act as SIGINT does.

    SIGINT itself is handled even where the process started with it ignored, in the
    background for example.
    """

    def interrupt(number, frame):
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        signal.raise_signal(signal.SIGINT)

    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: interrupt,
        signal.SIGALRM: interrupt,
    }
    previous = {number: signal.signal(number, handlers[number]) for number in handlers}
    try:
        if deadline is not None:
            seconds = max(deadline - time.monotonic(), 1e-3)  # 0 would mean never
            signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def carry(jobs: Sequence[Job], left: Limits) -> Limits:
    """Carries jobs forward, one after another, as far as a piece may.

    Args:
      jobs: in their order.
      left: limits of the piece.

    Returns:
      What is left of the piece afterwards.

    Raises:
      SystemExit: another command filled a run directory or the file of ended runs.
    """
    for job in jobs:
        if methods.is_finished(job):
            _add_ended(left, job)
            continue
        if left.reached:
            break
        done = num_epochs(job)
        most = job.config.epochs if left.epochs is None else done + left.epochs
        goal = min(job.config.epochs, most)
        interrupted = run_until(
            lambda job=job, goal=goal: _run(job, goal), left.deadline
        )
        if summary_of(job):
            methods.mark_finished(job)
            _add_ended(left, job)
        epochs = left.epochs
        if epochs is not None:
            epochs = max(epochs - (num_epochs(job) - done), 0)
        left = left._replace(epochs=epochs, interrupted=interrupted)
    return left


def _add_ended(left: Limits, job: Job) -> None:
    """Adds a run that has ended to the file of ended runs, if there is one."""
    if left.ended is not None:
        ended_runs.add(left.ended, job)


def _run(job: Job, goal: int) -> None:
    """Runs a job until so many of its epochs are done."""
    methods.run(job._replace(stop_after=goal))


def summary_of(job: Job) -> dict | None:
    """The summary of a run that has ended, or None.

    A piece that is interrupted leaves the summary of the piece before, even where its
    last epoch is recorded already.
    """
    path = job.folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    is_whole = summary.get("epochs") == job.config.epochs
    return summary if is_whole or summary.get("early_stop") is not None else None


def all_ended(jobs: Sequence[Job]) -> bool:
    """Whether every job has come to its end, with the settings that it has now.

    Raises:
      SystemExit: the directory of one holds another run.
    """
    return all(map(methods.is_finished, jobs))


def num_epochs(job: Job) -> int:
    """Number of epochs that a run has recorded."""
    return len(records.read(job.folder / "metrics.jsonl"))


def progress(jobs: Sequence[Job]) -> str:
    """How far each job has come, a line for each."""
    return "".join(f"{_progress_of(job)}\n" for job in jobs)


def _progress_of(job: Job) -> str:
    epochs = records.read(job.folder / "metrics.jsonl")
    parts = [f"{job.folder.name}: {len(epochs)} of {job.config.epochs} epochs"]
    if (summary_of(job) or {}).get("early_stop") is not None:
        parts[0] += " (stopped early)"
    for name, label in METRICS.items():
        values = [epoch[name] for epoch in epochs if epoch.get(name) is not None]
        if values:
            parts.append(f"{label} {100 * values[-1]:.2f} %")
    if epochs:
        parts.append(f"{sum(epoch['seconds'] for epoch in epochs):.0f} s")
    return ", ".join(parts)
