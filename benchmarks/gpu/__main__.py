"""Measures one GPU in calls of a few minutes, each of which goes on with the last.

python -m benchmarks.gpu --out DIR [--pieces FILE...] [--stage NAME]... [--list]
python -m benchmarks.gpu --out DIR --size tiny --platform cpu    # a trial of the script

Needs no network: golden files are in the repository, and images are synthetic where
CIFAR-10 is not there, except in whole searches and trainings, which are left out then.
Results are in DIR/DEVICE/results.json, replaced after every row, and in report.md.
"""

import argparse
import contextlib
import functools
import importlib.util
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import packed_images
from benchmarks.gpu import archive, executables, jobs, memory, schedule
from benchmarks.gpu.campaign import Campaign
from benchmarks.gpu.child import Settings, environment_of
from benchmarks.gpu.guard import Guard, guarding
from benchmarks.gpu.jobs import STAGES
from benchmarks.gpu.memory import DONE, FAILED, WRONG
from benchmarks.gpu.process import Subprocess, file_name
from benchmarks.gpu.report import report
from benchmarks.gpu.sizes import SIZES
from benchmarks.gpu.source import source_digest
from benchmarks.timing import say
from egnas_jax.data.files.layouts import LAYOUTS
from egnas_jax.storage import lock, records

ADVICE = """No GPU was found: nvidia-smi names none.
To try the script without one: python -m benchmarks.gpu --out DIR --size tiny \
--platform cpu"""
GPU_LINE = re.compile(r"^GPU \d+: (?P<name>.+?)(?: \(UUID.*)?$", re.MULTILINE)
SECONDS = 480.0  # with the start of a machine and the transfers, nine minutes
HOW_TO_GET = {  # what a job needs -> how it comes
    "data": "CIFAR-10: name its --data-dir, or all of its --pieces",
    "torch": "torch: install it, and leave --no-torch out",
}
LEFT = 130  # exit code where jobs are left for the next call


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parses the command line; exits with 2 where it is not usable."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0]
    )
    add, folder = parser.add_argument, dict(type=_absolute, metavar="DIR")
    add("--out", required=True, help="folder that remembers", **folder)
    text = "of this stage alone (may be repeated)"
    add("--stage", choices=STAGES, action="append", default=[], help=text)
    add("--list", action="store_true", help="list stages and jobs; measure nothing")
    add("--again", action="store_true", help="forget the results of these stages")
    add("--no-torch", action="store_true", help="leave torch out")
    text = "until jobs are asked to end (%(default)s)"
    add("--seconds", type=_seconds, default=SECONDS, help=text)
    add("--data-dir", help="of CIFAR-10, as of `egnas search`", **folder)
    text = "of CIFAR-10, made by benchmarks.packed_images; kept for later calls"
    add("--pieces", nargs="+", help=text, type=_absolute, metavar="FILE")
    add("--executables", help="programs compiled beforehand", **folder)
    add("--size", choices=SIZES, default="full", help="tiny: a trial in minutes")
    add("--platform", choices=("gpu", "cpu"), default="gpu")
    stem = dict(type=_absolute, metavar="FILE")
    text = "also keep the folder as FILE.00, FILE.01, ..."
    add("--archive", help=text, **stem)
    add("--resume-from", help="an archive of an earlier call", **stem)
    return parser.parse_args(arguments)


def _absolute(text: str) -> pathlib.Path:
    return pathlib.Path(text).absolute()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0.0):
        raise argparse.ArgumentTypeError(
            f"{text} is no time. Name a finite number of seconds, 0 or more."
        )
    return seconds


def device_name(platform: str) -> str | None:
    """Name of the first GPU as the driver reports it; None where there is none."""
    if platform == "cpu":
        return "CPU"
    if shutil.which("nvidia-smi") is None:
        return None
    answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    # a driver that fails writes its message to stdout, too
    found = GPU_LINE.search(answer.stdout) if answer.returncode == 0 else None
    return found["name"] if found else None


def data_folder(options: argparse.Namespace) -> pathlib.Path | None:
    """Where CIFAR-10 is; None where it is not there, or not all of its pieces.

    Raises:
      ValueError: a piece is damaged, or --data-dir is no folder.
    """
    if options.data_dir is not None:
        if not options.data_dir.is_dir():
            raise ValueError(
                f"--data-dir: there is no folder {options.data_dir}. Name the one "
                f"that holds CIFAR-10, or leave it out."
            )
        return options.data_dir
    folder, layout = options.out / "data", LAYOUTS["cifar10"][0]
    if packed_images.is_unpacked(folder, layout):
        return folder
    if options.pieces and packed_images.unpack(options.pieces, folder, layout):
        return folder
    return None


def list_jobs(
    listed: list[jobs.Job], chosen: list[jobs.Job], known: memory.Memory
) -> str:
    """Stages with their purpose and limit, and the state of each of their jobs.

    Args:
      listed: jobs to list.
      chosen: those of them whose needs are met.
      known: what was measured.
    """
    lines = []
    for stage in STAGES.values():
        own = [job for job in listed if job.stage == stage]
        if own:
            limit = f"{stage.limit_s:.0f} s a call"
            lines.append(f"{stage.name}: {stage.purpose} ({limit})")
        for job in own:
            left = "left" if job in chosen else f"no {job.needs}"
            lines.append(f"  {known.state(job.name) or left:9}{job.name}")
    return "\n".join(lines)


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


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = parse(arguments)
    device = device_name(options.platform)
    if device is None:
        print(ADVICE, file=sys.stderr)
        return 2
    try:
        with reserved(options):
            return run(options, device)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


@contextlib.contextmanager
def reserved(options: argparse.Namespace) -> Iterator[None]:
    """A context in which no other call writes to the folder.

    Raises:
      ValueError: another call does.
      OSError: the folder cannot be made or written.
    """
    if options.list and not (options.resume_from or options.pieces):
        yield  # reads only, also beside a call that measures
        return
    options.out.mkdir(parents=True, exist_ok=True)
    with lock.locked(options.out, say):
        yield


def run(options: argparse.Namespace, device: str) -> int:
    """Lists or measures; returns the exit code.

    Raises:
      ValueError: a file that was named, or the memory, cannot be used.
      OSError: results cannot be written.
    """
    folder = options.out / file_name(device)
    size = SIZES[options.size]()
    if options.resume_from and not (folder / memory.FILE).exists():
        archive.read(options.resume_from, folder)
    known = memory.load(folder, options.size)
    options.data_dir = data_folder(options)
    has_torch = importlib.util.find_spec("torch") is not None and not options.no_torch
    has_data = options.data_dir is not None
    chosen = jobs.open_jobs(size, stages=options.stage, torch=has_torch, data=has_data)
    listed = jobs.open_jobs(size, stages=options.stage, torch=True, data=True)
    if options.list:
        print(list_jobs(listed, chosen, known))
        return 0
    for line in left_out(listed, chosen):
        say(line)
    if not chosen:
        raise ValueError("No job of these stages can run here.")
    if options.again:
        known = memory.forget(known, [job.name for job in chosen])
    here = {"device": device, "source": source_digest()}
    known = known._replace(machine=known.machine | here)
    known = measure(options, folder, known, chosen)
    with dispensable("the report cannot be printed"):
        print(report(known, jobs.jobs_of(size)))
    states = [known.state(job.name) for job in chosen]
    if FAILED in states or WRONG in states:
        return 1
    return 0 if all(state == DONE for state in states) else LEFT


def left_out(listed: list[jobs.Job], chosen: list[jobs.Job]) -> list[str]:
    """A line for each thing that jobs need and that is not there."""
    lines = []
    for need, how in HOW_TO_GET.items():
        names = [j.name for j in listed if j.needs == need and j not in chosen]
        if names:
            lines.append(f"left out: {', '.join(names)}. They need {how}.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
