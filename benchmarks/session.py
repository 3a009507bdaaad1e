"""Keeps the results and the time limit of one run of `benchmarks.gpu`."""

import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor, wait

import jax

from benchmarks import parity, rows
from benchmarks.timing import say

REPEATS = 5


class Session:
    """Results so far, and the time that is left.

    Attributes:
      results: content of the JSON file.
      programs: (name, precision) of a row -> (row, compiled program).
      longest: seconds of the longest wave of compilations so far.
    """

    def __init__(self, options, started: float):
        self.options, self.end = options, started + options.seconds
        self.results = {"rows": [], "parity": {}, "left_out": [], "failed": []}
        self.programs = {}
        self.longest = 0.0
        self.cores = os.cpu_count() or 1

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.end - time.perf_counter()

    def leave_out(self, what: str, why: str) -> None:
        """Records that a part was not measured, and why."""
        say(f"left out: {what}: {why}")
        self.results["left_out"].append(f"{what}: {why}")

    def fits(self, what: str) -> bool:
        """Whether the time suffices for another wave like the longest so far.

        Records `what` as left out where it does not.
        """
        if self.longest <= self.left:
            return True
        self.leave_out(
            what, f"{self.left:.0f} s were left, {self.longest:.0f} s are needed"
        )
        return False

    def part(self, what: str, function, *arguments) -> None:
        """Runs a part; records its error where it fails, so that the next can run."""
        try:
            function(self, *arguments)
        except (RuntimeError, FloatingPointError) as error:  # such as out of memory
            fail(self, what, error)
        self.save()

    def save(self) -> None:
        """Writes the JSON file, where one was asked for."""
        if self.options.json:
            text = json.dumps(self.results, indent=2) + "\n"
            self.options.json.write_text(text)


def compile_wave(session: Session, wave: list) -> list:
    """Compiles several rows at a time; returns those that are ready in time."""
    names = ", ".join(f"{row.name} ({row.precision})" for row in wave)
    if not session.fits(names):
        return []
    say(f"compiling {len(wave)} programs; {session.left:.0f} s left")
    started = time.perf_counter()
    # half of the cores, since the compiler has threads of its own
    pool = ThreadPoolExecutor(max(1, min(len(wave), session.cores // 2)))
    futures = [pool.submit(rows.compiled, row) for row in wave]
    wait(futures, timeout=max(0.0, session.left))
    pool.shutdown(wait=False, cancel_futures=True)
    session.longest = max(session.longest, time.perf_counter() - started)
    ready = []
    for row, future in zip(wave, futures, strict=True):
        what = f"{row.name} ({row.precision})"
        if not future.done() or future.cancelled():
            session.leave_out(what, "was not compiled in time")
        elif future.exception():
            fail(session, what, future.exception())
        else:
            session.programs[row.name, row.precision] = row, future.result()
            ready.append((row, future.result()))
    return ready


def fail(session: Session, what: str, error: BaseException) -> None:
    """Records an error in one line."""
    text = f"{what}: {type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
    say(f"failed: {text}")
    session.results["failed"].append(text)


def measure_wave(session: Session, wave: list, check=None) -> None:
    """Compiles and times rows, and calls `check(session, row, timing)` for each."""
    for row, program in compile_wave(session, wave):
        what = f"{row.name} ({row.precision})"
        try:
            timing = rows.timed(row, program, REPEATS)
        except jax.errors.JaxRuntimeError as error:  # such as out of memory
            fail(session, what, error)
            continue
        line = table_line(session.results["limits"], row, program, timing)
        session.results["rows"].append(line)
        say(f"{what}: {line['seconds']:.4g} s, {line['images_per_s']:.0f} images/s")
        if check is not None:
            check(session, row, timing)


def table_line(limit: dict, row, program, timing) -> dict:
    """One line of the table of rows."""
    seconds = statistics.median(timing.seconds)
    return {
        "name": row.name,
        "precision": row.precision,
        "seconds": seconds,
        "seconds_all": timing.seconds,
        "images_per_s": row.images / seconds,
        "compile_s": program.seconds,
        "program_bytes": program.bytes,
        "multiply_adds": row.products,
        "bytes": row.bytes,
        "share_of_memory": row.bytes and row.bytes / seconds / limit["bytes_per_s"],
        "share_of_arithmetic": 2 * row.products / seconds / limit[row.precision],
    }


def record_parity(session: Session, what: str, precision: str, error: dict) -> None:
    """Records a difference from torch; float32 beyond its tolerance is a failure."""
    session.results["parity"][what] = error
    say(f"parity, {what}: {error}")
    bounded = {name: value for name, value in error.items() if name != "tau"}
    if precision == "float32" and not parity.passes(bounded):
        fail(session, f"parity, {what}", ValueError(f"too far from torch: {error}"))
