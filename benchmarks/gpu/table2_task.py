"""Carries the trainings of experiments/table2.py forward on the card."""

import pathlib
import signal
import subprocess
import sys

from benchmarks.gpu.child import Context, UnfinishedError
from benchmarks.gpu.sizes import SIZES
from egnas_jax.storage import records

SCRIPT = pathlib.Path(__file__).parents[2] / "experiments" / "table2.py"
CELL = "eg_nas_cifar10"  # the published cell, where no search has ended
INTERRUPTED = 130  # exit code of a piece that is not the last
MINUTES = 30.0  # of a piece, unless the job is asked to end before


def carry_trainings(context: Context, size: str) -> None:
    """Goes on with the trainings until they end or the job is asked to end.

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
        *("--genotype", cell_of(out / "searches")),
    ]
    if context.settings.data_dir and made.name == "full":
        command += ["--data-dir", context.settings.data_dir]
    context.take_card()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    # the script gets the same signal, and needs time for its checkpoint
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    progress, _ = process.communicate()
    lines = progress.splitlines()
    context.write("trainings", {"progress": lines, "exit_code": process.returncode})
    if process.returncode == INTERRUPTED:
        raise UnfinishedError("; ".join(lines[:1]) or "no epoch has ended")
    if process.returncode:
        raise RuntimeError(
            f"{SCRIPT.name} ended with {process.returncode}; see its log"
        )


def cell_of(searches: pathlib.Path) -> str:
    """The run directory of a search that has ended, or the name of a published cell.

    The cell of a table stays the same once its first training has begun.
    """
    chosen = searches.parent / "table2_cell.json"
    if chosen.exists():
        return records.read_object(chosen)["cell"]
    ended = [
        folder
        for folder in sorted(searches.glob("*"))
        if (folder / "summary.json").exists()
        and records.read_object(folder / "summary.json").get("epochs")
        == records.read_object(folder / "config.json").get("epochs")
    ]
    cell = str(ended[0]) if ended else CELL
    records.write_json(chosen, {"cell": cell})
    return cell
