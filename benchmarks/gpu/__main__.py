"""Measures one GPU in calls of a few minutes, each of which goes on with the last.

python -m benchmarks.gpu --out DIR [--pieces FILE...] [--stage NAME]... [--list]
python -m benchmarks.gpu --out DIR --size tiny --platform cpu    # a trial of the script

Needs no network: golden files are in the repository, and images are synthetic where
CIFAR-10 is not there, except in whole searches and trainings, which are left out then.
Results are in DIR/DEVICE/results.json, replaced after every row, and in report.md.
"""

import argparse
import contextlib
import importlib.util
import math
import pathlib
import sys
from collections.abc import Iterator

from benchmarks.gpu import archive, jobs, memory
from benchmarks.gpu.jobs import STAGES
from benchmarks.gpu.listing import left_out, list_jobs
from benchmarks.gpu.machine import data_folder, device_name
from benchmarks.gpu.measuring import dispensable, measure
from benchmarks.gpu.memory import DONE, FAILED, WRONG
from benchmarks.gpu.process import file_name
from benchmarks.gpu.report import report
from benchmarks.gpu.sizes import SIZES
from benchmarks.gpu.source import source_digest
from benchmarks.timing import say
from egnas_jax.storage import lock

ADVICE = """No GPU was found: nvidia-smi names none.
To try the script without one: python -m benchmarks.gpu --out DIR --size tiny \
--platform cpu"""
SECONDS = 480.0  # with the start of a machine and the transfers, nine minutes
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
    add("--data-dir", help="of CIFAR-10, as in `egnas search`", **folder)
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


if __name__ == "__main__":
    sys.exit(main())
