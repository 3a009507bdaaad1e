"""Runs jobs within the time of a call, and writes what is known after each of them."""

import argparse
import contextlib
import functools
import os
import pathlib
import signal
from collections.abc import Iterator

from benchmarks.gpu import archive, executables, jobs, memory, schedule
from benchmarks.gpu.campaign import Campaign
from benchmarks.gpu.child import Settings, environment_of
from benchmarks.gpu.guard import Guard, guarding
from benchmarks.gpu.process import Subprocess, file_name
from benchmarks.gpu.report import report
from benchmarks.gpu.sizes import SIZES
from benchmarks.timing import say
from egnas_jax.storage import records


def measure(
    options: argparse.Namespace,
    folder: pathlib.Path,
    known: memory.Memory,
    chosen: list[jobs.Job],
) -> memory.Memory:
    """Runs the chosen jobs within the time; returns what is known afterwards."""
    settings = Settings(
        out=folder,
        data_dir=str(options.data_dir) if options.data_dir else None,
        executables=options.executables,
        platform=options.platform,
    )
    with counted_interruptions() as asked, guarding() as guard:
        campaign = Campaign(
            chosen,
            known,
            start=functools.partial(start_job, settings, guard),
            save=functools.partial(_save, options.size, folder),
            ended=functools.partial(_archive, options.archive, folder),
            say=say,
            slots=schedule.slots_on(os.cpu_count() or 1),
            carried=executables.carried(chosen, options.executables),
            interruptions=lambda: len(asked),
        )
        campaign.run(options.seconds)
    return campaign.memory


@contextlib.contextmanager
def counted_interruptions() -> Iterator[list[int]]:
    """A context in which SIGINT and SIGTERM only add their number to a list."""
    asked = []
    numbers = signal.SIGINT, signal.SIGTERM
    handlers = [
        signal.signal(number, lambda number, frame: asked.append(number))
        for number in numbers
    ]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


def start_job(
    settings: Settings, guard: Guard, job: jobs.Job, loads: bool
) -> Subprocess:
    """Starts the process of a job, which loads programs or compiles all of them."""
    if not loads:
        settings = settings._replace(executables=None)
    # XLA keeps what autotuning has found there, so another job would not measure it
    own_cache = file_name(job.name) if job.autotunes else ""
    return Subprocess(job, settings.out, environment_of(settings, own_cache), guard)


def _save(size: str, folder: pathlib.Path, known: memory.Memory) -> None:
    memory.save(folder, known)
    with dispensable("report.md was not written"):
        text = report(known, jobs.jobs_of(SIZES[size]()))
        records.write_text(folder / archive.REPORT, text)


def _archive(stem: pathlib.Path | None, folder: pathlib.Path) -> None:
    if stem is not None:
        with dispensable(f"the results were not copied to {stem.parent}"):
            archive.copy_results(folder, stem.parent)
        with dispensable(f"{stem} was not written"):
            archive.write(folder, stem)


@contextlib.contextmanager
def dispensable(loss: str) -> Iterator[None]:
    """A context whose errors are printed with `loss`: measuring is worth more."""
    try:
        yield
    except Exception as error:
        say(f"{loss}: {type(error).__name__}: {error}")
