"""Reads finished runs from their directories and groups those that differ by seed.

metrics.jsonl is enough for a run; config.json tells its seed and settings, and
environment.json its machine, where they exist.
"""

import json
import math
import pathlib
import re
from typing import Any, NamedTuple

from egnas_jax.runs.plugin_records import load_recorded
from egnas_jax.runs.retrain_config import REMOVED
from egnas_jax.runs.search_config import with_current_names
from egnas_jax.runs.unknown_settings import check_known
from egnas_jax.search.cost import NAMES as COSTS
from egnas_jax.settings import FREE, flat
from egnas_jax.space import parse_genotype
from egnas_jax.storage import records
from egnas_jax.strategies.labels import caption_of, label_of

METRICS_FILE = "metrics.jsonl"
# settings that follow from the seed or affect no result
IGNORED_SETTINGS = (
    *("data.digest", "steps_per_call", *FREE),
    "strategy.limit.latencies",  # a table of the device
)
NUMBERS = (
    "valid_accuracy",
    "test_error",
    "seconds",
    *COSTS,
)  # metrics that tables compute with
SUMMARIES = ("mean", "mean - sd", "mean + sd")  # names of summary lines in figures
WITHOUT_EPOCHS = (
    "still in their first epoch, interrupted in it, or ended by a loss that was not "
    "finite"
)
MOST_SETTINGS = 3  # in a label; a longer list says less than the folder's name


class RunRecord(NamedTuple):
    """One run, as its records show it.

    Attributes:
      name: unique among the runs of a report.
      group: folder name without the seed; groups runs that have no configuration.
      seed: None where neither the configuration nor the folder's name tells it.
      settings: dotted path -> value, without the seed and `IGNORED_SETTINGS`; None
        without config.json.
      lines: records of metrics.jsonl, one for each epoch.
      environment: contents of environment.json; {} without one.
      limited: limits and costs in summary.json; {} without limits.
      selection: contents of selection.json; {} where no cells were selected.
    """

    name: str
    group: str
    seed: int | None
    settings: dict[str, Any] | None
    lines: tuple[dict, ...]
    environment: dict
    limited: dict
    selection: dict

    @property
    def result(self) -> dict:
        """Record of the epoch whose cell or network the run returns.

        That is the last epoch, or the one that early stopping names.
        """
        return self.lines[self.lines[-1].get("early_stop", -1)]

    @property
    def planned(self) -> int | None:
        """Number of epochs in the configuration; None without one."""
        epochs = (self.settings or {}).get("epochs")
        return epochs if type(epochs) is int else None

    @property
    def unfinished(self) -> bool:
        """Whether planned epochs are missing for another reason than early stopping."""
        stopped = self.lines[-1].get("early_stop") is not None
        return not stopped and len(self.lines) < (self.planned or 0)

    @property
    def method(self) -> str | None:
        """What the search method is called; None for a run without one that is known.

        See `strategies.labels`.
        """
        name = (self.settings or {}).get("strategy_name")
        if not isinstance(name, str):
            return None
        return label_of(name, self.settings.get("supernet.space"))

    @property
    def caption(self) -> str | None:
        """What is written above a drawing of its cell; None: nothing."""
        settings = self.settings or {}
        return caption_of(settings.get("strategy_name"), settings.get("supernet.space"))

    @property
    def kind(self) -> str:
        """Name of the command: "search" or "retrain"."""
        return "retrain" if "test_error" in self.lines[0] else "search"

    def column(self, name: str) -> list[float | None]:
        """A metric of every epoch; None where it was not recorded."""
        return [line.get(name) for line in self.lines]


class Group(NamedTuple):
    """Runs that differ only in their seed.

    Attributes:
      label: what distinguishes the group from the others.
      runs: its runs, ordered by seed.
    """

    label: str
    runs: tuple[RunRecord, ...]


def read_runs(paths: list[str]) -> list[RunRecord]:
    """Reads the runs that a command line names.

    Args:
      paths: run directories, folders of run directories, or metrics.jsonl files.

    Raises:
      ValueError: a path holds no run, a run has no finished epoch, or a line is not a
        valid record (the message has its number).
    """
    files = [file for path in paths for file in _metrics_files(pathlib.Path(path))]
    files = list(dict.fromkeys(file.resolve() for file in files))
    names = _unique_names([file.parent for file in files])
    return [_read(file, name) for file, name in zip(files, names, strict=True)]


def folders_without_epochs(paths: list[str]) -> list[pathlib.Path]:
    """Folders of runs that began, and have no record of a finished epoch.

    Args:
      paths: see `read_runs`.
    """
    folders = [
        file.parent
        for path in map(pathlib.Path, paths)
        for file in _files_below(path, "config.json")
        if not (file.parent / METRICS_FILE).is_file()
    ]
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def _files_below(path: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Files of this name in a folder of seeds, or of settings that hold seeds."""
    files = [file for level in ("*", "*/*") for file in path.glob(f"{level}/{name}")]
    return sorted(files, key=lambda file: _natural_order(file.parent))


def _metrics_files(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_file():
        return [path]
    if (path / METRICS_FILE).is_file():
        return [path / METRICS_FILE]
    files = _files_below(path, METRICS_FILE)
    begun = (path / "config.json").is_file() or folders_without_epochs([path])
    if not files and begun:
        raise ValueError(
            f"{str(path)!r} holds no run with a finished epoch: those in it were "
            f"{WITHOUT_EPOCHS}. There is nothing to report of them."
        )
    if not files:
        raise ValueError(
            f"{str(path)!r} holds no run: neither it nor a folder in it has a "
            f"{METRICS_FILE}. Name a directory that `egnas search` or `egnas retrain` "
            f"wrote."
        )
    return files


def _natural_order(path: pathlib.Path):
    """Sort key that puts seed2 before seed10."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if part.isdigit() else part for part in parts]


def _unique_names(folders: list[pathlib.Path]) -> list[str]:
    """The shortest ends of the paths that are unique and differ from `SUMMARIES`."""
    for depth in range(1, 20):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names) and not set(names) & set(SUMMARIES):
            return names
    return [str(folder) for folder in folders]


def _read(path: pathlib.Path, name: str) -> RunRecord:
    load_recorded(path.parent)
    lines = _read_lines(path)
    stored = _read_object(path.parent / "config.json")
    check_known(stored, path.parent / "config.json")
    config = _current(stored)
    settings = None if config is None else dict(flat(config))
    seed, group = _seed_and_group(path.parent)
    if settings is not None:
        seed = settings.pop("seed", seed)
        settings = {k: v for k, v in settings.items() if k not in IGNORED_SETTINGS}
        group = group.removesuffix(f"-{seed}")
    return RunRecord(
        name=name,
        group=group,
        seed=seed,
        settings=settings,
        lines=tuple(lines),
        environment=_read_object(path.parent / "environment.json") or {},
        limited=(_read_object(path.parent / "summary.json") or {}).get("limited", {}),
        selection=_read_object(path.parent / "selection.json") or {},
    )


def _read_lines(path: pathlib.Path) -> list[dict]:
    lines = records.read(path)
    for epoch, line in enumerate(lines):
        place = f"Line {epoch + 1} of {path}"
        if line.get("epoch") != epoch:
            raise ValueError(
                f"{place} is not the record of epoch {epoch}. The file was altered; "
                f"restore it, or leave this run out."
            )
        if not {"valid_accuracy", "test_error"} & set(line):
            raise ValueError(
                f"{place} holds neither valid_accuracy nor test_error, so it is no "
                f"record of a search or a retraining. Leave this run out."
            )
        try:
            lines[epoch] = _checked(line)
        except ValueError as error:
            raise ValueError(
                f"{place} was altered: {error} Restore it, or leave this run out."
            ) from None
    if not lines:
        raise ValueError(f"{path} has no finished epoch. Leave this run out.")
    return lines


def _checked(line: dict) -> dict:
    """The record, with None for numbers that are not finite.

    Raises:
      ValueError: a number, a genotype or the epoch of an early stop is invalid.
    """
    for name in NUMBERS:
        value = line.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} is {value!r}, but must be a number or null.")
        if not math.isfinite(value):
            line = line | {name: None}
    stop = line.get("early_stop", 0)
    if type(stop) is not int or stop not in range(line["epoch"] + 1):
        raise ValueError(
            f"early_stop is {stop!r}, but must be an epoch from 0 to {line['epoch']}."
        )
    if "genotype" in line:
        if not isinstance(line["genotype"], str):
            raise ValueError(f"genotype is {line['genotype']!r}, but must be a text.")
        parse_genotype(line["genotype"])
    return line


def _current(config: dict | None) -> dict | None:
    """A stored configuration with the names of today, so that runs can be compared."""
    if config is None:
        return None
    if isinstance(config.get("strategy"), dict):
        return with_current_names(config)
    return {name: value for name, value in config.items() if name not in REMOVED}


def _read_object(path: pathlib.Path) -> dict | None:
    if not path.is_file():
        return None
    hint = f"Restore it, or remove it: {METRICS_FILE} is enough."
    return records.read_object(path, hint)


def _seed_and_group(folder: pathlib.Path) -> tuple[int | None, str]:
    """Seed and group in the names of folders: GROUP/seed3 or GROUP-seed3."""
    match = re.fullmatch(r"(.*?)[-_]?seed[-_]?(\d+)", folder.name)
    if match is None:
        return None, folder.name
    return int(match[2]), match[1] or folder.parent.name


def grouped(runs: list[RunRecord]) -> list[Group]:
    """Groups runs of one kind by their settings, or by their folders' names."""
    groups: dict[Any, list[RunRecord]] = {}
    for run in runs:
        if run.settings is None:
            key = ("folder", run.group)
        else:
            key = ("settings", json.dumps(run.settings, sort_keys=True))
        groups.setdefault(key, []).append(run)
    members = [sorted(runs, key=lambda run: run.seed or 0) for runs in groups.values()]
    labels = _labels([runs[0] for runs in members])
    return [Group(*pair) for pair in zip(labels, map(tuple, members), strict=True)]


def differing(runs: list[RunRecord]) -> list[str]:
    """Dotted paths of the settings in which runs with a configuration differ."""
    known = [run.settings for run in runs if run.settings is not None]
    paths = sorted({path for settings in known for path in settings})
    values = {path: {repr(settings.get(path)) for settings in known} for path in paths}
    return [path for path in paths if len(values[path]) > 1]


def _labels(firsts: list[RunRecord]) -> list[str]:
    """Labels of the groups with these first runs; ambiguous ones become run names."""
    labels = [_label(run, firsts) for run in firsts]
    for index, run in enumerate(firsts):
        if labels.count(labels[index]) > 1:
            labels[index] = run.name
    return labels


def _label(run: RunRecord, firsts: list[RunRecord]) -> str:
    """The method with its distinguishing settings, or the folder's name."""
    if run.settings is None or len(firsts) == 1:
        return run.group
    method = run.method or "retrain"
    same_method = [
        other
        for other in firsts
        if other.settings and (other.method or "retrain") == method
    ]
    paths = differing(same_method)
    if len(paths) > MOST_SETTINGS or "genotype" in paths:
        return run.group
    settings = [f"{path.split('.')[-1]}={run.settings.get(path)}" for path in paths]
    return ", ".join([method, *settings])
