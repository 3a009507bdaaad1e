"""Carries the trainings of experiments/table2.py forward on the card."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys

from benchmarks.gpu.child import Context
from benchmarks.gpu.ends import UnfinishedError
from benchmarks.gpu.sizes import SIZES
from egnas_jax.storage import records

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "table2.py"
CELL = "eg_nas_cifar10"  # the published cell, where no search has ended
INTERRUPTED = 130  # exit code of a piece that is not the last
MINUTES = 30.0  # of a piece, unless the job is asked to end before


def carry_trainings(context: Context, size: str) -> None:
    """Goes on with the trainings until they end or the job is asked to end.

    The network compiles for minutes before the job takes the card.

    Raises:
      UnfinishedError: trainings are left; checkpoints have been written.
      RuntimeError: the script failed.
    """
    made, out = SIZES[size](), context.settings.out
    command = [
        sys.executable,
        str(SCRIPT),
        *made.table2,
        *("--out", str(out / "table2"), "--minutes", str(MINUTES)),
        *("--genotype", cell_of(out)),
    ]
    if context.settings.data_dir and made.name == "full":
        command += ["--data-dir", context.settings.data_dir]
    _compile(command)
    context.take_card()
    # in the group of this job, which ends with the campaign
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment()
    )
    # the script gets the same signal, and needs time for its checkpoint
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    progress, _ = process.communicate()
    lines = list(itertools.takewhile(is_progress, progress.splitlines()))
    context.write("trainings", {"progress": lines, "exit_code": process.returncode})
    if process.returncode == INTERRUPTED:
        raise UnfinishedError("; ".join(lines[:1]) or "no epoch has ended")
    _check(process.returncode)


def _compile(command: list[str]) -> None:
    """Lets the script compile what it will run, into the cache of the campaign."""
    words = [*command, "--compile-only"]
    _check(subprocess.run(words, stdout=sys.stderr, env=environment()).returncode)


def _check(code: int) -> None:
    """Raises a RuntimeError where the script failed."""
    if code:
        raise RuntimeError(f"{SCRIPT.name} ended with {code}; see its log")


def environment() -> dict[str, str]:
    """The environment of the script, which finds the package without installation."""
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def is_progress(line: str) -> bool:
    """Whether a line says how far a training is; the tables after them do not."""
    return not line.startswith("<!--")


def cell_of(out: pathlib.Path) -> str:
    """The cell of all trainings: that of a search that has ended, or a published one.

    It stays the same once the first training has begun.

    Args:
      out: folder of the campaign, which may have been moved since.

    Returns:
      A run directory, or the name of a published cell.
    """
    path = out / "table2_cell.json"
    if not path.exists():
        runs = [run for run in sorted((out / "searches").glob("*")) if has_ended(run)]
        chosen = {"run": str(runs[0].relative_to(out))} if runs else {"name": CELL}
        records.write_json(path, chosen)
    chosen = records.read_object(path)
    return str(out / chosen["run"]) if "run" in chosen else chosen["name"]


def has_ended(run: pathlib.Path) -> bool:
    """Whether a search has run all of its epochs."""
    summary, config = run / "summary.json", run / "config.json"
    if not summary.exists():
        return False
    epochs = records.read_object(summary).get("epochs")
    return epochs == records.read_object(config)["epochs"]
