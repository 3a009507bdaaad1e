"""Remembers what the campaign has found, so that the next call goes on from there.

The memory is one JSON file, replaced as a whole after every row. Its functions return
new memories and change nothing.
"""

import json
import pathlib
import time
from collections.abc import Collection
from typing import NamedTuple

from benchmarks.gpu.jobs import Job
from egnas_jax.storage import records

FILE = "results.json"
DONE, FAILED, STOPPED = "done", "failed", "stopped"
LATE = "late"  # stopped because it was not ready for the card
WRONG = "wrong"  # it ended and its result is stored, but not what it must be
ENDED = DONE, WRONG  # the same would come out again
# of a job that has not ended: it prepares, or does what may take the machine down
BEGUN, EXPOSED = "begun", ""
REASONS = {
    BEGUN: "it was compiling or waiting when the results were last written",
    EXPOSED: "it had the card or was loading a program when they were last written",
}


class Memory(NamedTuple):
    """Outcomes of jobs, and the machine that they belong to.

    Attributes:
      machine: device, versions, digest of the source; {} before the first call.
      size: name of the size of all programs.
      jobs: name of a job -> {"state", "reason", "attempts", "seconds", "date", "jax",
        "results": {name: ...}, "made": {name: {"date", "source"}}}; the state is
        `BEGUN` or `EXPOSED` while the job runs. A result stays through later attempts,
        so "made" says when it was measured, and by which source.
    """

    machine: dict
    size: str
    jobs: dict[str, dict]

    def state(self, job: str) -> str:
        """The state of a job; "" where it did not end or is unknown."""
        return self.jobs.get(job, {}).get("state", "")


def load(folder: pathlib.Path, size: str) -> Memory:
    """Reads the memory of a folder; an empty one where there is none.

    Raises:
      ValueError: the file is damaged, or its results are of another size.
    """
    path = folder / FILE
    if not path.exists():
        return Memory({}, size, {})
    hint = "Name another folder by --out, or remove this one."
    try:
        memory = Memory(**json.loads(path.read_text()))
        _check(memory)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}. {hint}") from error
    if memory.size != size:
        raise ValueError(
            f"{path} holds results of the size {memory.size}, and this call measures "
            f"the size {size}. {hint}"
        )
    return memory


def _check(memory: Memory) -> None:
    """Raises a ValueError where the parts of a memory have other types than ours."""
    entries = memory.jobs.items() if isinstance(memory.jobs, dict) else [("jobs", None)]
    for name, entry in [("machine", memory.machine), *entries]:
        if not isinstance(entry, dict):
            raise ValueError(f"{name!r} is no JSON object")
    for name, entry in entries:
        types = {"attempts": int, "state": str, "reason": str, "results": dict}
        wrong = [key for key, kind in types.items() if type(entry.get(key)) is not kind]
        if wrong or not all(isinstance(r, dict) for r in entry["results"].values()):
            raise ValueError(f"the job {name!r} has no usable {wrong or 'results'}")


def save(folder: pathlib.Path, memory: Memory) -> None:
    """Writes the memory: the whole file or none of it."""
    folder.mkdir(parents=True, exist_ok=True)
    records.write_json(folder / FILE, memory._asdict())


def begin(memory: Memory, job: str, *, loads: bool = False) -> Memory:
    """Counts an attempt at a job; results of earlier attempts stay until replaced.

    Args:
      memory: of the campaign.
      job: its name.
      loads: whether it begins by loading a program that was compiled beforehand.
    """
    entry = memory.jobs.get(job, {"attempts": 0, "results": {}})
    entry = {**entry, "attempts": entry["attempts"] + 1}
    begun = memory._replace(jobs={**memory.jobs, job: entry})
    return expose(begun, job) if loads else cover(begun, job)


def expose(memory: Memory, job: str) -> Memory:
    """Notes that a job gets the card, so that it is suspect if nothing follows."""
    return _running(memory, job, EXPOSED)


def cover(memory: Memory, job: str) -> Memory:
    """Notes that a job compiles or waits, which takes no machine down."""
    return _running(memory, job, BEGUN)


def _running(memory: Memory, job: str, state: str) -> Memory:
    entry = {**memory.jobs[job], "state": state, "reason": REASONS[state]}
    return memory._replace(jobs={**memory.jobs, job: entry})


def with_result(memory: Memory, job: str, name: str, result: dict) -> Memory:
    """Adds one result of a job that has begun."""
    entry = memory.jobs[job]
    made = {"date": _now(), "source": memory.machine.get("source")}
    entry = {
        **entry,
        "results": {**entry["results"], name: result},
        "made": {**entry.get("made", {}), name: made},
    }
    return memory._replace(jobs={**memory.jobs, job: entry})


def end(memory: Memory, job: str, state: str, reason: str, seconds: float) -> Memory:
    """Sets how a job ended, why, and how many seconds of the card it took."""
    ended = {"state": state, "reason": reason, "seconds": round(seconds, 2)}
    made = {"date": _now(), "jax": memory.machine.get("jax")}
    entry = {**memory.jobs[job], **ended, **made}
    return memory._replace(jobs={**memory.jobs, job: entry})


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M")


def forget(memory: Memory, jobs: list[str]) -> Memory:
    """Drops jobs, so that they are measured again."""
    kept = {name: entry for name, entry in memory.jobs.items() if name not in jobs}
    return memory._replace(jobs=kept)


def by_worth(memory: Memory, jobs: list[Job]) -> list[Job]:
    """The jobs that are neither done nor wrong, in order of worth; suspect ones last.

    The card is given in this order.
    """

    def attempts(job: Job) -> int:
        suspect = is_suspect(memory, job.name)
        return memory.jobs[job.name]["attempts"] if suspect else 0

    left = (job for job in jobs if memory.state(job.name) not in ENDED)
    return sorted(left, key=attempts)


def in_order(
    memory: Memory, jobs: list[Job], carried: Collection[str] = ()
) -> list[Job]:
    """The same jobs, those first whose preparation costs the others least.

    Programs that were compiled beforehand come first, then quick compilations, then
    slow ones. Suspect jobs follow by their attempts. Last are those that were late,
    since they would be so again. Otherwise the order stays, also of a job that was
    stopped while it measured. Jobs begin in this order.

    Args:
      memory: of the calls before.
      jobs: in order of worth.
      carried: names of jobs whose programs were compiled beforehand.
    """

    def rank(job: Job) -> int:
        if is_suspect(memory, job.name):
            return 3
        if job.name in carried:
            return 0
        if memory.state(job.name) == LATE:
            return 4
        return 2 if job.is_slow else 1

    return sorted(by_worth(memory, jobs), key=rank)


def is_suspect(memory: Memory, job: str) -> bool:
    """Whether a job failed, or was killed while it had the card or loaded a program.

    The campaign that ran the latter was killed, perhaps because the job took the
    machine down; so it must not be the first one of every call. Those that compiled
    then are innocent.
    """
    return job in memory.jobs and memory.state(job) in (FAILED, EXPOSED)
