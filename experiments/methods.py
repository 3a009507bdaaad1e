"""Describes the searches and trainings of an experiment, and runs each of them once.

Finished runs are not repeated and interrupted ones go on, so an experiment may be
called any number of times with the same --out.
"""

import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import egnas_jax as eg
from egnas_jax.cli.console import say, use_compilation_cache
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.settings import as_dict
from egnas_jax.storage import records

Settings = Mapping[str, Any]  # dotted path -> value
NOTHING: Settings = MappingProxyType({})


class Job(NamedTuple):
    """A run that an experiment needs.

    Attributes:
      config: configuration of a search or of a training.
      folder: run directory.
      genotype: the cell of a training; None for a search.
      data_dir: the only place to look for the data set; None for the usual places.
      restore: run from whose state a search starts, or None.
      stop_after: number of epochs after which a search ends early, or None.
      search_seconds: duration of the search for the cell of a training, if known.
    """

    config: eg.SearchConfig | RetrainConfig
    folder: pathlib.Path
    genotype: eg.Genotype | None = None
    data_dir: str | None = None
    restore: pathlib.Path | None = None
    stop_after: int | None = None
    search_seconds: float | None = None


class Method(NamedTuple):
    """A search method with its settings, as `egnas_jax.search_config` takes them."""

    preset: str = "digits_large"
    strategy: str = "egnas"
    variant: str | None = None
    space: str | None = None
    settings: Settings = NOTHING

    def with_settings(self, settings: Settings) -> "Method":
        """The method with some settings changed."""
        return self._replace(settings={**self.settings, **settings})

    def config(self) -> eg.SearchConfig:
        """The configuration of a search."""
        return eg.search_config(
            self.preset,
            strategy=self.strategy,
            variant=self.variant,
            space=self.space,
            settings=self.settings,
        )

    def job(self, folder: pathlib.Path, seed: int, data_dir: str | None) -> Job:
        """The search with a seed."""
        config = self.with_settings({"seed": seed}).config()
        return Job(config, folder, data_dir=data_dir)


class Training(NamedTuple):
    """A cell and its recipe, as `egnas_jax.retrain_config` takes it.

    Attributes:
      genotype: the cell.
      preset: data set and recipe.
      settings: what differs from the preset.
      search_seconds: duration of the search for the cell, if known.
    """

    genotype: eg.Genotype
    preset: str = "digits"
    settings: Settings = NOTHING
    search_seconds: float | None = None

    def config(self) -> RetrainConfig:
        """The configuration of the training."""
        return eg.retrain_config(self.preset, settings=self.settings)

    def job(self, folder: pathlib.Path, seed: int, data_dir: str | None) -> Job:
        """The training with a seed."""
        own = self._replace(settings={**self.settings, "seed": seed})
        return Job(
            own.config(),
            folder,
            genotype=self.genotype,
            data_dir=data_dir,
            search_seconds=self.search_seconds,
        )


class Outcome(NamedTuple):
    """Results of one run.

    Attributes:
      method: name of what was run.
      seed: its seed.
      summary: contents of summary.json.
      epochs: records of metrics.jsonl.
      taken_over: number of the first epochs that are another run's, from which this
        one started.
    """

    method: str
    seed: int
    summary: dict
    epochs: list[dict]
    taken_over: int = 0


def run_all(
    plans: Mapping[str, Method | Training],
    seeds: int,
    out: pathlib.Path,
    data_dir: str | None = None,
) -> Iterator[Outcome]:
    """Runs every method or training with every seed, in folders NAME-SEED.

    Args:
      plans: name -> what is run.
      seeds: number of runs of each, from seed 0.
      out: folder of all runs.
      data_dir: the only place to look for the data set; None for the usual places.
    """
    for name, plan in plans.items():
        for seed in range(seeds):
            job = plan.job(out / f"{folder_name(name)}-{seed}", seed, data_dir)
            yield finish(name, seed, job)


def folder_name(method: str) -> str:
    """A method's name without characters that a path should not hold."""
    return method.replace(" ", "_").replace(",", "")


def finish(method: str, seed: int, job: Job) -> Outcome:
    """Runs a job to its end, unless it is finished, and returns its results.

    Raises:
      SystemExit: its directory holds another run.
    """
    if not is_finished(job):
        run(job)
        mark_finished(job)
    origin = job.folder / "restored.json"
    return Outcome(
        method=method,
        seed=seed,
        summary=json.loads((job.folder / "summary.json").read_text()),
        epochs=records.read(job.folder / "metrics.jsonl"),
        taken_over=json.loads(origin.read_text())["epoch"] if origin.exists() else 0,
    )


def finish_all(
    searches: Sequence[tuple[str, int, Job]], batched: str | int = "off"
) -> list[Outcome]:
    """Runs searches to their end, unless all are finished, and returns their results.

    Args:
      searches: method, seed and job of each; all end after the same epoch.
      batched: how many run at a time, see `egnas_jax.run_searches`.

    Raises:
      SystemExit: a directory holds another run.
      FloatingPointError: a loss is not finite.
    """
    jobs = [job for *_, job in searches]
    # a batch goes on with the searches that it began with
    if batched != "off" and not all([is_finished(job) for job in jobs]):
        _run_together(jobs, batched)
        for job in jobs:
            mark_finished(job)
    return [finish(*search) for search in searches]


def _run_together(jobs: Sequence[Job], batched: str | int) -> None:
    """Runs searches, or goes on with what is in their directories already."""
    use_compilation_cache()

    def print_epoch(index: int, record: dict) -> None:
        job, number = jobs[index], record["epoch"] + 1
        say(f"{job.folder.name}: epoch {number} of {job.config.epochs}")

    searches = eg.run_searches(
        [job.config for job in jobs],
        [job.folder for job in jobs],
        batched=batched,
        data_dir=jobs[0].data_dir,
        resume=any(job.folder.exists() for job in jobs),
        restores=[job.restore for job in jobs],
        stop_after=jobs[0].stop_after,
        on_epoch=print_epoch,
        log=say,
    )
    for error in searches.errors.values():
        raise error


def run(job: Job) -> None:
    """Runs a job, or goes on with what is in its directory already."""
    use_compilation_cache()

    def print_epoch(record: dict) -> None:
        number = record["epoch"] + 1
        say(f"{job.folder.name}: epoch {number} of {job.config.epochs}")

    options = dict(
        out=job.folder,
        data_dir=job.data_dir,
        resume=job.folder.exists(),
        stop_after=job.stop_after,
        on_epoch=print_epoch,
    )
    if job.genotype is None:
        eg.run_search(job.config, restore=job.restore, **options)
    else:
        seconds = job.search_seconds
        eg.run_retraining(job.genotype, job.config, search_seconds=seconds, **options)


def is_finished(job: Job) -> bool:
    """Whether a job was run to its end.

    Raises:
      SystemExit: its directory holds another run.
    """
    return _is_made(job.folder / "summary.json", note_of(job), _key(job))


def mark_finished(job: Job) -> None:
    """Notes beside a run that it has ended, and what was run."""
    records.write_json(note_of(job), _key(job))


def note_of(job: Job) -> pathlib.Path:
    """The file beside a run which says that it has ended."""
    kind = "search" if job.genotype is None else "retrain"
    return job.folder / f".{kind}.json"


def _key(job: Job) -> dict:
    """Everything that the results of a job depend on, as JSON."""
    key = {
        "config": _without_later_settings(as_dict(job.config)),
        "genotype": job.genotype and job.genotype.format(),
        "data_dir": job.data_dir,
        "restore": job.restore and str(job.restore),
        "stop_after": job.stop_after,
    }
    return records.plain(key)


# settings that notes of earlier runs lack -> the value that those runs had
LATER_SETTINGS = {
    "nesterov": False,
    "parents": "rank",
    "positions": "real",
    "resource_cells": "counted",
}


def _without_later_settings(config: dict) -> dict:
    """A configuration without the settings that earlier runs had no name for."""
    return {
        name: _without_later_settings(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in LATER_SETTINGS or value != LATER_SETTINGS[name]
    }


def make_json(path: pathlib.Path, key: dict, make: Callable[[], dict]) -> dict:
    """Returns the JSON object of a file, which is computed where it is missing.

    Args:
      path: the file.
      key: everything that its contents depend on.
      make: computes the contents.

    Raises:
      SystemExit: the file was made for another key.
    """
    note, key = path.with_name(f".{path.name}"), records.plain(key)
    if not _is_made(path, note, key):
        contents = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        records.write_json(path, contents)
        records.write_json(note, key)
    return json.loads(path.read_text())


def _is_made(path: pathlib.Path, note: pathlib.Path, key: dict) -> bool:
    if not (path.exists() and note.exists()):
        return False
    if json.loads(note.read_text()) == key:
        return True
    raise SystemExit(
        f"{path.parent} holds what another command made, of another size or with "
        f"other settings. Name another --out, and another --ended if that held it."
    )
