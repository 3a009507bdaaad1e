"""Reads results out of the memory of a campaign."""

import math
from typing import Any

from benchmarks.gpu.jobs import Job
from benchmarks.gpu.memory import Memory

# Keys of results that may be unknown. Elsewhere null is how JSON keeps NaN.
OPTIONAL = (
    "bytes",
    "multiply_adds",
    "peak_bytes",
    "genotype",
    "individuals_at_a_time",
)


def results(memory: Memory, job: str) -> dict[str, dict]:
    """Name -> result of a job, with NaN where it was NaN; {} where there is none."""
    return _with_nan(memory.jobs.get(job, {}).get("results", {}))


def _with_nan(value: Any, key: str = "") -> Any:
    """A value of JSON with NaN for null, except under the keys that may be unknown."""
    if isinstance(value, dict):
        return {name: _with_nan(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [_with_nan(entry, key) for entry in value]
    return math.nan if value is None and key not in OPTIONAL else value


def made(memory: Memory, job: str, name: str) -> dict:
    """Date and source of a result; {} where they were not written down."""
    return memory.jobs[job].get("made", {}).get(name, {})


def rows_of(memory: Memory, jobs: list[Job]) -> list[tuple[Job, dict]]:
    """The measured rows, each with its date ("-": unknown), and their jobs."""
    return [
        (job, row | {"date": made(memory, job.name, name).get("date", "-")})
        for job in jobs
        if job.task == "row"
        for name, row in results(memory, job.name).items()
    ]


def loaded(row: dict) -> str:
    """How a program came that was not compiled for its row; "" where it was."""
    if row["origin"] == "compiled beforehand":
        return "beforehand"
    return "cache" if row.get("from_cache") else ""
