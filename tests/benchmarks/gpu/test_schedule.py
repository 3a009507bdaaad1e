"""Which job prepares, which gets the card and which must end, by hand-made phases."""

import pytest

from benchmarks.gpu import schedule
from benchmarks.gpu.jobs import Job, Stage
from benchmarks.gpu.schedule import (
    HALTED,
    MEASURING,
    OVER,
    PAUSED,
    PREPARING,
    READY,
    WAITING,
    Phase,
)

FIRST, SECOND = Stage("first", "", 60.0), Stage("second", "", 90.0)
A, B, C = (
    Job(name, stage, "search", {}, prepare_s=100.0)
    for name, stage in (("a", FIRST), ("b", FIRST), ("c", SECOND))
)
JOBS = [A, B, C]


def phases(*names, since=0.0):
    return {job.name: Phase(name, since) for job, name in zip(JOBS, names, strict=True)}


def test_jobs_prepare_in_order_of_worth_while_slots_are_free():
    assert schedule.to_prepare(JOBS, phases(WAITING, WAITING, WAITING), 2) == A
    assert schedule.to_prepare(JOBS, phases(PREPARING, WAITING, WAITING), 2) == B
    assert schedule.to_prepare(JOBS, phases(PREPARING, PREPARING, WAITING), 2) is None


def test_a_job_that_measures_takes_no_slot():
    assert schedule.to_prepare(JOBS, phases(MEASURING, READY, WAITING), 1) == C


@pytest.mark.parametrize(
    "other, resumes",
    [(WAITING, True), (PREPARING, True), (READY, False), (MEASURING, False)],
)
def test_a_paused_job_starts_again_when_the_card_is_idle_and_nobody_ready(
    other, resumes
):
    where = phases(PAUSED, OVER, other)
    assert schedule.to_resume(JOBS, where) == (A if resumes else None)
    assert schedule.to_resume(JOBS, phases(OVER, OVER, other)) is None


def test_one_paused_job_at_a_time_starts_again_and_takes_no_slot():
    where = phases(PAUSED, WAITING, PAUSED) | {"a": Phase(PREPARING, 0.0, True)}
    assert schedule.to_resume(JOBS, where) is None
    assert schedule.to_prepare(JOBS, where, 1) == B


def test_the_card_goes_to_one_job_at_a_time():
    assert schedule.to_grant(JOBS, phases(MEASURING, READY, READY), {}) is None
    assert schedule.to_grant(JOBS, phases(WAITING, PREPARING, OVER), {}) is None


def test_a_slow_compilation_holds_up_no_job_that_is_ready():
    assert schedule.to_grant(JOBS, phases(PREPARING, WAITING, READY), {}) == C


def test_the_most_valuable_ready_job_comes_first_unless_its_stage_is_used_up():
    ready = phases(READY, READY, READY)
    assert schedule.to_grant(JOBS, ready, {"first": 59.0}) == A
    assert schedule.to_grant(JOBS, ready, {"first": 60.0}) == C
    assert schedule.to_grant(JOBS, ready, {"first": 60.0, "second": 90.0}) == A


def test_a_measurement_ends_at_the_limit_of_its_stage_where_another_job_is_ready():
    spent, where = {"first": 40.0}, phases(MEASURING, OVER, READY)
    assert schedule.to_stop(JOBS, where, spent, 20.0) == []
    [(job, why)] = schedule.to_stop(JOBS, where, spent, 20.5)
    assert job == A and why == "the 60 s of its stage were used up"


@pytest.mark.parametrize("other", [WAITING, PREPARING, PAUSED])
def test_a_measurement_is_not_stopped_for_jobs_that_cannot_use_the_card(other):
    spent, where = {"first": 40.0}, phases(MEASURING, OVER, other)
    assert schedule.to_stop(JOBS, where, spent, 50.0) == []


def test_a_stage_makes_no_room_for_its_own_jobs():
    assert schedule.to_stop(JOBS, phases(MEASURING, READY, OVER), {}, 500.0) == []
    [(job, _)] = schedule.to_stop(JOBS, phases(MEASURING, READY, READY), {}, 500.0)
    assert job == A


@pytest.mark.parametrize("other", [WAITING, PREPARING, READY, MEASURING, PAUSED])
def test_a_patient_job_begins_only_when_all_others_are_over(other):
    patient = B._replace(is_patient=True)
    jobs = [A, patient, C]
    assert schedule.admitted(jobs, phases(OVER, WAITING, other)) == [A, C]
    assert schedule.admitted(jobs, phases(OVER, WAITING, OVER)) == jobs


@pytest.mark.parametrize("task", ["row", "torch"])
def test_preparing_jobs_halt_while_another_one_is_timed(task):
    jobs = [A._replace(task=task), B, C]
    timed = phases(MEASURING, PREPARING, WAITING)
    assert schedule.to_halt(jobs, timed) == [B]
    assert schedule.to_prepare(jobs, timed, 2) is None
    halted = phases(MEASURING, HALTED, WAITING)
    assert schedule.to_halt(jobs, halted) == schedule.to_continue(jobs, halted) == []
    assert schedule.to_continue(jobs, phases(OVER, HALTED, WAITING)) == [B]
    assert schedule.to_halt(JOBS, timed) == []  # a search is no measurement of seconds


def test_a_halted_job_keeps_its_slot_and_its_time():
    where = phases(PREPARING, HALTED, WAITING)
    assert schedule.to_prepare(JOBS, where, 2) is None
    phase = schedule.halted(Phase(PREPARING, 10.0), 70.0)  # after 60 s
    assert phase == Phase(HALTED, 70.0, prepared_s=60.0)
    assert (
        schedule.to_stop(JOBS, phases(OVER, OVER, OVER) | {"a": phase}, {}, 500) == []
    )
    phase = schedule.continued(phase, 500.0)
    where = phases(OVER, OVER, OVER) | {"a": phase}
    assert schedule.to_stop(JOBS, where, {}, 540.0) == []
    [(job, _)] = schedule.to_stop(JOBS, where, {}, 540.5)
    assert job == A
    phase = schedule.halted(phase, 510.0)
    assert phase.prepared_s == 70.0


@pytest.mark.parametrize("cores, slots", [(16, 8), (2, 1), (1, 1)])
def test_every_two_cores_prepare_one_job(cores, slots):
    assert schedule.slots_on(cores) == slots


def test_a_preparation_ends_at_its_limit():
    assert schedule.to_stop(JOBS, phases(PREPARING, OVER, OVER), {}, 100.0) == []
    [(job, why)] = schedule.to_stop(JOBS, phases(PREPARING, OVER, OVER), {}, 100.5)
    assert job == A and why == "was not ready for the card after 100 s"
