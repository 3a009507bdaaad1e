"""Keeps what a table needs of ended runs in one small file.

The file stands in for run directories: where a machine keeps none, or another machine
goes on, an experiment finds the runs of the file as if it had ended them itself. It
holds no weights. Settings are compared as those of runs in --out are.
"""

import json
import pathlib

import methods
from methods import Job

from egnas_jax.storage import records

OUT = '"{out}/'  # stands for the folder of the experiment, which differs by machine
HINT = "Name a file that --ended has written, or one that does not exist yet."


def add(path: pathlib.Path, job: Job) -> None:
    """Adds an ended run to a file that lacks it; the file is made where it is missing.

    Raises:
      SystemExit: its run of this name has other settings.
      ValueError: it is another file.
    """
    runs, note = read(path), methods.note_of(job).name
    inside = _in_json(job.folder.parent)
    run = {
        name: (job.folder / name).read_text().replace(inside, OUT)
        for name in _names(job)
        if (job.folder / name).exists()
    }
    held = runs.setdefault(job.folder.name, run)
    if json.loads(held.get(note, "null")) != json.loads(run[note]):
        raise SystemExit(
            f"{path} holds a run {job.folder.name} of other settings. Name another "
            f"--ended."
        )
    if held is run:
        records.write_json(path, runs)


def take(path: pathlib.Path, out: pathlib.Path) -> None:
    """Makes run directories of the runs of a file that `out` lacks.

    Args:
      path: a file of `add`, which need not exist yet.
      out: folder of the experiment.

    Raises:
      ValueError: it is another file.
    """
    inside = _in_json(out)
    for run, files in read(path).items():
        if (out / run).exists():
            continue
        half = out / f"half-{run}"
        half.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            records.write_text(half / name, text.replace(OUT, inside))
        half.rename(out / run)


def read(path: pathlib.Path) -> dict[str, dict[str, str]]:
    """Run -> file -> its text; no run where there is no file.

    Raises:
      ValueError: it is another file.
    """
    if not path.exists():
        return {}
    runs = records.read_object(path, HINT)
    for run, files in runs.items():
        named = pathlib.PurePath(run).name == run and isinstance(files, dict)
        if not named or not all(map(_is_file, files.items())):
            raise ValueError(f"{path} holds no ended runs: see {run!r}. {HINT}")
    return runs


def _in_json(folder: pathlib.Path) -> str:
    """How paths of files in a folder begin as strings of JSON."""
    return json.dumps(f"{folder}/")[:-1]


def _is_file(entry: tuple[str, object]) -> bool:
    """Whether an entry of a run is a file in its folder."""
    name, text = entry
    return pathlib.PurePath(name).name == name and isinstance(text, str)


def _names(job: Job) -> tuple[str, ...]:
    texts = "config.json", "genotype.json", "metrics.jsonl", "summary.json"
    return methods.note_of(job).name, *texts
