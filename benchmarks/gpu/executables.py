"""Keeps compiled programs as files, so that another machine need not compile them.

python -m benchmarks.gpu.executables --out DIR [--card h200] [--size full] [NAME...]

Compiles the rows, the epoch and the searches of the campaign for a card that is not
there (extra bench-gpu), or without --card for this machine's own device. The campaign
loads a file where it fits (`--executables DIR`): the same jax, card and source.
Otherwise it compiles, and says why. All are compiled without autotuning, as their names
say, so rows with autotuning are left out.
"""

import argparse
import functools
import lzma
import os
import pathlib
import pickle
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax.experimental import serialize_executable

from benchmarks import programs as compiling
from benchmarks import rows
from benchmarks.gpu import jobs, programs, search_programs
from benchmarks.gpu.process import file_name, with_flags
from benchmarks.gpu.sizes import SIZES
from benchmarks.gpu.source import source_digest
from benchmarks.gpu.targets import compile_request, compile_row, target
from benchmarks.timing import say
from egnas_jax.storage import records
from egnas_jax.training.program_cache import LoadProgram, ProgramRequest

SUFFIX = ".executable"
CONTENT = {"jax", "device", "source", "payload", "trees"}  # what loading reads
# task of a job that compiles the programs of a search -> these programs
REQUESTS = {"search": search_programs.of_search, "epoch": search_programs.of_epoch}
TASKS = "row", *REQUESTS


def name_of(size: str, case: str, program: str, precision: str, flags: str) -> str:
    """Name of the file of a program; `flags` are those of XLA."""
    return file_name(f"{size} {case} {program} {precision} {flags}") + SUFFIX


def piece_name_of(task: str, options: dict[str, str], piece: str, flags: str) -> str:
    """Name of the file of a program of a search.

    Args:
      task: a key of `REQUESTS`.
      options: of the job.
      piece: name of the program, one of `search_programs.NAMES`.
      flags: those of XLA.
    """
    words = task, *(options[key] for key in sorted(options)), piece, flags
    return file_name(" ".join(words)) + SUFFIX


def names_of(job: jobs.Job) -> list[str]:
    """Names of the files of a job, whose task is one of `TASKS`."""
    if job.task == "row":
        return [name_of(**job.options, flags=job.flags)]
    return [
        piece_name_of(job.task, job.options, piece, job.flags)
        for piece in search_programs.NAMES
    ]


def carried(chosen: Iterable[jobs.Job], folder: pathlib.Path | None) -> set[str]:
    """Names of the jobs whose programs a folder holds, as far as names of files say."""
    return {
        job.name
        for job in chosen
        if folder is not None
        and job.task in TASKS
        and all((folder / name).exists() for name in names_of(job))
    }


def packed(program: jax.stages.Compiled, device_kind: str, seconds: float) -> bytes:
    """A compiled program as bytes, with what it fits."""
    payload, arguments, results = serialize_executable.serialize(program)
    content = {
        "jax": jax.__version__,
        "device": device_kind,
        "source": source_digest(),
        "payload": payload,
        "trees": (arguments, results),
        "seconds": seconds,
    }
    return lzma.compress(pickle.dumps(content))  # half as large


def unpacked(path: pathlib.Path) -> dict[str, Any]:
    """What `packed` wrote to a file, which must be one's own: pickle runs code.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        content = pickle.loads(lzma.decompress(path.read_bytes()))
    except Exception as error:  # pickle raises whatever the bytes make it call
        raise ValueError(f"the file is damaged: {error}") from error
    if not (isinstance(content, dict) and content.keys() >= CONTENT):
        raise ValueError("the file is damaged: it holds something else")
    return content


def load(path: pathlib.Path) -> compiling.Compiled:
    """Loads a program onto this machine's device.

    Raises:
      ValueError: the file is damaged, it was made by another jax, for another card or
        of another source, or the device refuses it.
    """
    content = unpacked(path)
    here = {
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "source": source_digest(),
    }
    for what, value in here.items():
        if content[what] != value:
            found = str(content[what])
            raise ValueError(f"its {what} is {found:.40} and not {value:.40}")
    started = time.perf_counter()
    try:
        program = serialize_executable.deserialize_and_load(
            content["payload"],
            *content["trees"],
            execution_devices=jax.devices()[:1],
        )
    except Exception as error:  # of jaxlib, of several kinds
        raise ValueError(f"{type(error).__name__}: {str(error)[:200]}") from error
    seconds = time.perf_counter() - started
    return compiling.Compiled(program, seconds, compiling.reserved_bytes(program))


def load_or_compile(
    row: rows.Row, folder: pathlib.Path | None, name: str
) -> tuple[compiling.Compiled, str]:
    """Loads the program of a row, or compiles it; says which, and why."""
    if folder is None:
        return rows.compiled(row), "compiled here"
    path = folder / name
    if not path.exists():
        return rows.compiled(row), f"compiled here: {name} was not carried"
    try:
        return load(path), "compiled beforehand"
    except ValueError as error:
        say(f"{path} was not loaded: {error}")
        return rows.compiled(row), f"compiled here: the carried one failed: {error}"


def loader(
    folder: pathlib.Path | None,
    task: str,
    options: dict[str, str],
    flags: str,
    *,
    on_load: Callable[[str], None] = lambda name: None,
) -> LoadProgram:
    """Returns a function that loads the programs of a search.

    Args:
      folder: of the files, or None.
      task, options, flags: see `piece_name_of`.
      on_load: called with the name of each program that was loaded.
    """

    def load_piece(name: str, request: ProgramRequest) -> Callable | None:
        del request  # the name says what was compiled
        path = (folder or pathlib.Path()) / piece_name_of(task, options, name, flags)
        if folder is None or not path.exists():
            return None
        try:
            program = load(path).call
        except ValueError as error:
            say(f"{path} was not loaded: {error}")
            return None
        on_load(name)
        return program

    return load_piece


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parses the command line; exits with 2 where it is not usable."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.executables",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--card", help="as of benchmarks.deviceless; none: this device")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of jobs (all)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Compiles and writes the programs that the command names."""
    options = parse(arguments)
    wanted = [
        job
        for job in jobs.jobs_of(SIZES[options.size]())
        if job.task in TASKS and job.flags == jobs.PLAIN
    ]
    names = {job.name for job in wanted}
    if unknown := set(options.names) - names:
        print(f"unknown {sorted(unknown)}; known: {sorted(names)}", file=sys.stderr)
        return 2
    os.environ["XLA_FLAGS"] = with_flags(jobs.PLAIN)  # before jax starts
    try:
        chosen = target(options.card)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    with chosen as (device, kind):
        for job in wanted:
            if not options.names or job.name in options.names:
                _write(job, options.out, device, kind)
    return 0


def _write(job: jobs.Job, folder: pathlib.Path, device, kind: str) -> None:
    for name, compile_one in zip(names_of(job), _compilations(job), strict=True):
        started = time.perf_counter()
        program = compile_one(device)
        seconds = time.perf_counter() - started
        path = folder / name
        records.write_bytes(path, packed(program, kind, seconds))
        say(f"{name}: {seconds:.0f} s, {path.stat().st_size / 2**20:.1f} MiB")


def _compilations(job: jobs.Job) -> list[Callable[[Any | None], jax.stages.Compiled]]:
    """Functions that compile the programs of a job for a device, as in `names_of`."""
    options = {key: value for key, value in job.options.items() if key != "size"}
    size = SIZES[job.options["size"]]()
    if job.task == "row":
        row = programs.build(size, **options)
        return [functools.partial(compile_row, row)]
    requests = REQUESTS[job.task](size, **options)
    return [
        functools.partial(compile_request, requests[name])
        for name in search_programs.NAMES
    ]


if __name__ == "__main__":
    sys.exit(main())
