"""Runs as a report sees them: the lines of metrics.jsonl, and their groups.

metrics.jsonl alone suffices; config.json, where it stands beside it, tells seeds and
settings, and environment.json the machine.
"""

import json
import math
import pathlib
import re
from typing import Any, NamedTuple

from egnas_jax.space import parse_genotype
from egnas_jax.storage import records

METRICS = "metrics.jsonl"
# what makes no other experiment: images that the seed splits off, and conveniences
NO_SETTINGS = ("data.digest", "steps_per_call", "keep_checkpoints", "tensorboard")
FIGURES = ("valid_accuracy", "test_error", "seconds")  # that tables reckon with
SUMMARIES = ("mean", "mean - sd", "mean + sd")  # in figures, where else a run stands
MOST_SETTINGS = 3  # that a label names; a name of folders says more than four


class Run(NamedTuple):
    """One run.

    Attributes:
      name: unique among the runs of a report.
      group: folder name without its seed, for runs without a configuration.
      seed: None where nothing tells it.
      settings: dotted path -> value, without the seed and `NO_SETTINGS`; None without
        config.json.
      lines: records, an epoch each.
      environment: environment.json, {} where there is none.
    """

    name: str
    group: str
    seed: int | None
    settings: dict[str, Any] | None
    lines: tuple[dict, ...]
    environment: dict

    @property
    def result(self) -> dict:
        """The line of what the run returns: the last epoch's, or that of an early
        stop."""
        return self.lines[self.lines[-1].get("early_stop", -1)]

    @property
    def planned(self) -> int | None:
        """Epochs that it is to have; None where no configuration tells it."""
        epochs = (self.settings or {}).get("epochs")
        return epochs if type(epochs) is int else None

    @property
    def unfinished(self) -> bool:
        """Whether epochs are left that no stop rule took."""
        stopped = self.lines[-1].get("early_stop") is not None
        return not stopped and len(self.lines) < (self.planned or 0)

    @property
    def kind(self) -> str:
        """ "search" or "retrain"."""
        return "retrain" if "test_error" in self.lines[0] else "search"

    def column(self, name: str) -> list[float | None]:
        """A figure of every epoch; None where it was not recorded."""
        return [line.get(name) for line in self.lines]


class Group(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes:
      label: what sets them apart from the other groups.
      runs: by seed.
    """

    label: str
    runs: tuple[Run, ...]


def read_runs(paths: list[str]) -> list[Run]:
    """The runs that a command line names.

    Args:
      paths: run directories, folders of several, or metrics.jsonl files.

    Raises:
      ValueError: a path holds no run, a run no finished epoch, or a line cannot be
        read (with its number).
    """
    files = [file for path in paths for file in _metrics_of(pathlib.Path(path))]
    files = list(dict.fromkeys(file.resolve() for file in files))
    names = _unique_names([file.parent for file in files])
    return [_read(file, name) for file, name in zip(files, names, strict=True)]


def _metrics_of(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_file():
        return [path]
    if (path / METRICS).is_file():
        return [path / METRICS]
    found = sorted(path.glob(f"*/{METRICS}"), key=lambda file: _natural(file.parent))
    if not found:
        raise ValueError(
            f"{str(path)!r} holds no run: neither it nor a folder in it has a "
            f"{METRICS}. Name a directory that `egnas search` or `egnas retrain` wrote."
        )
    return found


def _natural(path: pathlib.Path):
    """seed2 before seed10."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdigit() else part for part in parts]


def _unique_names(folders: list[pathlib.Path]) -> list[str]:
    """The last parts of each path, as many as tell them apart, and from `SUMMARIES`."""
    for depth in range(1, 20):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names) and not set(names) & set(SUMMARIES):
            return names
    return [str(folder) for folder in folders]


def _read(path: pathlib.Path, name: str) -> Run:
    lines = records.read(path)
    for number, line in enumerate(lines, start=1):
        if line.get("epoch") != number - 1:
            raise ValueError(
                f"Line {number} of {path} is not the record of epoch {number - 1}. The "
                f"file was altered; restore it, or leave this run out."
            )
        if not {"valid_accuracy", "test_error"} & set(line):
            raise ValueError(
                f"Line {number} of {path} holds neither valid_accuracy nor test_error: "
                f"it is no record of a search or of a retraining. Leave it out."
            )
        try:
            lines[number - 1] = _checked(line)
        except ValueError as error:
            raise ValueError(
                f"Line {number} of {path} was altered: {error} Restore it, or leave "
                f"this run out."
            ) from None
    if not lines:
        raise ValueError(f"{path} has no finished epoch. Leave this run out.")
    config = _object(path.parent / "config.json")
    settings = None if config is None else dict(_flat(config))
    seed, group = _seed_of(path.parent)
    if settings is not None:
        seed = settings.pop("seed", seed)
        settings = {k: v for k, v in settings.items() if k not in NO_SETTINGS}
        group = group.removesuffix(f"-{seed}")
    environment = _object(path.parent / "environment.json") or {}
    return Run(name, group, seed, settings, tuple(lines), environment)


def _checked(line: dict) -> dict:
    """A line whose figures are finite numbers or None.

    Raises:
      ValueError: a figure, a genotype or the epoch of an early stop is something else.
    """
    for name in FIGURES:
        value = line.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} is {value!r}, but must be a number or null.")
        if not math.isfinite(value):
            line = line | {name: None}
    stop = line.get("early_stop", 0)
    if type(stop) is not int or stop not in range(line["epoch"] + 1):
        raise ValueError(f"early_stop is {stop!r}, but must be an epoch up to it.")
    if "genotype" in line:
        if not isinstance(line["genotype"], str):
            raise ValueError(f"genotype is {line['genotype']!r}, but must be a text.")
        parse_genotype(line["genotype"])
    return line


def _object(path: pathlib.Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError):
        raise ValueError(
            f"{path} was altered: it holds no JSON object. Restore it, or remove it: "
            f"{METRICS} suffices."
        ) from None


def _flat(tree: dict, prefix: str = ""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _seed_of(folder: pathlib.Path) -> tuple[int | None, str]:
    """Seed and group that names of folders tell: GROUP/seed3, GROUP-seed3."""
    found = re.fullmatch(r"(.*?)[-_]?seed[-_]?(\d+)", folder.name)
    if found is None:
        return None, folder.name
    return int(found[2]), found[1] or folder.parent.name


def grouped(runs: list[Run]) -> list[Group]:
    """Runs of one kind by what their settings are, or by their folders' names."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.settings is None:
            key = ("folder", run.group)
        else:
            key = ("settings", json.dumps(run.settings, sort_keys=True))
        groups.setdefault(key, []).append(run)
    members = [sorted(own, key=lambda run: run.seed or 0) for own in groups.values()]
    labels = _labels([own[0] for own in members])
    return [Group(*pair) for pair in zip(labels, map(tuple, members), strict=True)]


def differing(runs: list[Run]) -> list[str]:
    """Settings, by dotted path, in which runs differ that have any."""
    known = [run.settings for run in runs if run.settings is not None]
    paths = sorted({path for settings in known for path in settings})
    values = {path: {repr(own.get(path)) for own in known} for path in paths}
    return [path for path in paths if len(values[path]) > 1]


def _labels(firsts: list[Run]) -> list[str]:
    """What sets each group apart: its method and settings, or its folder's name."""
    labels = [_label(run, firsts) for run in firsts]
    for index, run in enumerate(firsts):
        if labels.count(labels[index]) > 1:
            labels[index] = run.name
    return labels


def _label(run: Run, firsts: list[Run]) -> str:
    if run.settings is None or len(firsts) == 1:
        return run.group
    method = run.settings.get("strategy_name", "retrain")
    same = [
        other
        for other in firsts
        if other.settings and other.settings.get("strategy_name", "retrain") == method
    ]
    paths = differing(same)
    if len(paths) > MOST_SETTINGS or "genotype" in paths:
        return run.group
    settings = [f"{path.split('.')[-1]}={run.settings.get(path)}" for path in paths]
    return ", ".join([method, *settings])
