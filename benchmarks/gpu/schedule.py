"""Decides which jobs prepare, which one gets the card, which must halt and which end.

Pure functions of the jobs and of where each of them is. `to_grant` gets the jobs in
order of worth, all others in the order in which they begin.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.gpu.jobs import Job

WAITING, PREPARING, HALTED, READY, MEASURING, PAUSED, OVER = (
    "waiting",
    "preparing",
    "halted",
    "ready",
    "measuring",
    "paused",
    "over",
)
UNREADY = PREPARING, HALTED
ACTIVE = *UNREADY, READY, MEASURING


class Phase(NamedTuple):
    """Where a job is.

    Attributes:
      name: one of the names above. A paused job was stopped by the limit of its stage
        and goes on when no other job is ready for the card. A halted one prepares, but
        stands still while another measures.
      since: when it came there, in seconds of the campaign's clock.
      is_resumed: whether the job was paused before.
      prepared_s: seconds that it had prepared before it was halted.
    """

    name: str
    since: float
    is_resumed: bool = False
    prepared_s: float = 0.0


def halted(phase: Phase, now: float) -> Phase:
    """The phase of a preparing job that is halted now."""
    prepared_s = phase.prepared_s + now - phase.since
    return phase._replace(name=HALTED, since=now, prepared_s=prepared_s)


def continued(phase: Phase, now: float) -> Phase:
    """The phase of a halted job that goes on now; meanwhile its time did not count."""
    return phase._replace(name=PREPARING, since=now)


Phases = Mapping[str, Phase]  # name of a job -> where it is


def admitted(jobs: Sequence[Job], phases: Phases) -> list[Job]:
    """The jobs without the patient ones, as long as others are not over."""
    others = [job for job in jobs if not job.is_patient]
    if all(phases[job.name].name == OVER for job in others):
        return list(jobs)
    return others


def to_prepare(jobs: Sequence[Job], phases: Phases, slots: int) -> Job | None:
    """The next job to start for the first time, where a slot is free.

    None starts while a measurement needs quiet.
    """
    if is_quiet(jobs, phases):
        return None
    places = [phases[job.name] for job in jobs]
    taken = sum(place.name in UNREADY and not place.is_resumed for place in places)
    waiting = (job for job in jobs if phases[job.name].name == WAITING)
    return next(waiting, None) if taken < slots else None


def slots_on(cores: int) -> int:
    """How many jobs may prepare at a time.

    A compilation uses one core for most of its time and many for the rest (the weight
    step of a search 10 minutes and 7), so one for every two cores keeps them busy.
    """
    return max(1, cores // 2)


def is_quiet(jobs: Sequence[Job], phases: Phases) -> bool:
    """Whether a job measures during which the others must not compile."""
    return any(job.is_quiet and phases[job.name].name == MEASURING for job in jobs)


def to_halt(jobs: Sequence[Job], phases: Phases) -> list[Job]:
    """The jobs that prepare while another one needs quiet."""
    preparing = [job for job in jobs if phases[job.name].name == PREPARING]
    return preparing if is_quiet(jobs, phases) else []


def to_continue(jobs: Sequence[Job], phases: Phases) -> list[Job]:
    """The halted jobs that may go on."""
    standing = [job for job in jobs if phases[job.name].name == HALTED]
    return [] if is_quiet(jobs, phases) else standing


def to_resume(jobs: Sequence[Job], phases: Phases) -> Job | None:
    """The paused job to start again, where the card is idle and no job is ready for it.

    It takes no slot, since it reads its programs from the cache; one at a time does.
    """
    places = [phases[job.name] for job in jobs]
    if any(p.name in (READY, MEASURING) or p.is_resumed for p in places):
        return None
    return next((job for job in jobs if phases[job.name].name == PAUSED), None)


def to_grant(
    jobs: Sequence[Job], phases: Phases, spent: Mapping[str, float]
) -> Job | None:
    """The ready job that gets the card next; None while another one has it.

    Args:
      jobs: in order of worth.
      phases: where they are.
      spent: stage -> seconds that it had the card. Jobs of a stage whose seconds are
        used up come after all others.
    """
    if any(phases[job.name].name == MEASURING for job in jobs):
        return None
    ready = [job for job in jobs if phases[job.name].name == READY]
    ready.sort(key=lambda job: is_used_up(job, spent))
    return ready[0] if ready else None


def is_used_up(job: Job, spent: Mapping[str, float]) -> bool:
    """Whether the stage of a job has had the card for as long as it may."""
    return spent.get(job.stage.name, 0.0) >= job.stage.limit_s


def to_stop(
    jobs: Sequence[Job], phases: Phases, spent: Mapping[str, float], now: float
) -> list[tuple[Job, str]]:
    """The jobs that must end, and why.

    A preparation ends at its limit. A measurement ends at the limit of its stage where
    a job of another stage is ready for the card: one that compiles cannot use it.
    """
    ready = {job.stage.name for job in jobs if phases[job.name].name == READY}
    stopped = []
    for job in jobs:
        phase, took = phases[job.name].name, now - phases[job.name].since
        prepared_s = phases[job.name].prepared_s + took
        if phase == PREPARING and prepared_s > job.prepare_s:
            why = f"was not ready for the card after {job.prepare_s:.0f} s"
            stopped.append((job, why))
        used = spent.get(job.stage.name, 0.0) + took
        others = ready - {job.stage.name}
        if phase == MEASURING and others and used > job.stage.limit_s:
            why = f"the {job.stage.limit_s:.0f} s of its stage were used up"
            stopped.append((job, why))
    return stopped
