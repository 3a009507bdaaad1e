"""Workers of a study, whose units are made-up functions."""

import errno
import os
import pathlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from egnas_jax.runs.study.status import unit_statuses
from egnas_jax.runs.study.study_file import Unit, read_study, write_units
from egnas_jax.runs.study.work import MOST_LOST, Clock, WorkerOptions, run_units
from egnas_jax.storage import claims, records
from egnas_jax.storage.claims import Claim, add_event, read_events
from egnas_jax.storage.lock import DirectoryTakenError

OPTIONS = WorkerOptions(beat=1.0, stale=10.0)


def unit(run, *needs):
    kind = "retrain" if needs else "search"
    return Unit(run, kind, needs, {"epochs": 2}, None)


UNITS = [unit("search/seed0"), unit("search/seed1")]
UNITS += [unit("retrain/seed0/seed0", "search/seed0")]
UNITS += [unit("retrain/seed1/seed0", "search/seed1")]


class FakeClock:
    """Time passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds
        assert self.now < 1000, "a worker waits for ever"

    def clock(self):
        return Clock(lambda: self.now, self.sleep)


@pytest.fixture
def study(tmp_path):
    write_units(tmp_path, UNITS)
    return read_study(tmp_path)


@pytest.fixture
def notes():
    return []


@pytest.fixture
def work(study, notes):
    """Works the study off; returns unit -> state."""
    time = FakeClock()

    def run(function, options=OPTIONS):
        statuses = run_units(
            study,
            lambda study, unit: function(unit.run),
            options,
            notes.append,
            time.clock(),
        )
        return {each.unit.run: each.state for each in statuses}

    run.time = time
    return run


def kinds(study, index):
    return [event.kind for event in read_events(study.events_folder(index))]


def test_every_unit_runs_once_and_after_what_it_needs(work, study):
    order = []
    states = work(order.append)
    assert order == [each.run for each in UNITS]
    assert set(states.values()) == {"done"}
    assert work(order.append) == states and len(order) == 4
    assert [kinds(study, i) for i in range(4)] == [["claimed", "done"]] * 4


def test_a_retraining_waits_for_the_search_of_another_worker(work, study):
    other = study.events_folder(0)
    assert add_event(other, 1, claims.CLAIMED, {})
    order = []

    def run(name):
        order.append(name)
        if name == "retrain/seed1/seed0":
            Claim(other, 1).end(claims.DONE)

    assert set(work(run).values()) == {"done"}
    assert order == ["search/seed1", "retrain/seed1/seed0", "retrain/seed0/seed0"]


@pytest.mark.parametrize("tries", [1, 3])
def test_a_unit_that_fails_is_tried_so_often_and_blocks_what_needs_it(
    tries, work, study
):
    order = []

    def run(name):
        order.append(name)
        if name == "search/seed0":
            raise FloatingPointError("The loss is nan.")

    states = work(run, OPTIONS._replace(tries=tries))
    assert states == {
        "search/seed0": "failed",
        "search/seed1": "done",
        "retrain/seed0/seed0": "blocked",
        "retrain/seed1/seed0": "done",
    }
    assert order.count("search/seed0") == tries
    failed = unit_statuses(study, tries)[0]
    assert failed.message == "FloatingPointError: The loss is nan."
    assert failed.failures == tries


def test_a_unit_that_failed_is_tried_again_with_more_tries(work):
    def fail(name):
        raise RuntimeError("The disk is full.")

    assert set(work(fail).values()) == {"failed", "blocked"}
    order = []
    assert set(work(order.append, OPTIONS._replace(tries=2)).values()) == {"done"}
    assert order == [each.run for each in UNITS]


def test_the_unit_of_a_lost_worker_is_taken_over_when_its_claim_is_stale(work, study):
    assert add_event(study.events_folder(0), 1, claims.CLAIMED, {})
    times = {}
    work(lambda name: times.setdefault(name, work.time.now))
    assert times["search/seed1"] == times["retrain/seed1/seed0"] == 0.0
    assert times["search/seed0"] == OPTIONS.stale
    assert kinds(study, 0) == ["claimed", "claimed", "done"]


def test_the_unit_of_a_worker_that_beats_is_left_to_it(work, study):
    folder = study.events_folder(0)
    assert add_event(folder, 1, claims.CLAIMED, {})
    wait, beats = work.time.sleep, []

    def beat_and_wait(seconds):
        beats.append(0)
        claims.beat_path(folder, 1).write_text(str(len(beats)))
        if len(beats) == 5 * OPTIONS.stale:
            Claim(folder, 1).end(claims.DONE)
        wait(seconds)

    work.time.sleep = beat_and_wait
    order = []
    assert set(work(order.append).values()) == {"done"}
    assert "search/seed0" not in order and work.time.now == 5 * OPTIONS.stale


def test_a_worker_that_lost_its_claim_writes_nothing_more_and_goes_on(
    work, study, notes, tmp_path
):
    folder, file = study.events_folder(0), tmp_path / "metrics.jsonl"
    order = []

    def run(name):
        order.append(name)
        if name == "search/seed0":
            records.append(file, {"epoch": 0})
            assert add_event(folder, 2, claims.CLAIMED, {})  # by another worker
            records.append(file, {"epoch": 1})
        if name == "retrain/seed1/seed0":
            Claim(folder, 2).end(claims.DONE)

    assert set(work(run).values()) == {"done"}
    assert records.read(file) == [{"epoch": 0}]
    assert kinds(study, 0) == ["claimed", "claimed", "done"]
    assert order.count("search/seed0") == 1
    assert any("has taken" in note and "seed0" in note for note in notes)


def test_an_error_of_a_lost_unit_is_not_its_failure(work, study):
    folder = study.events_folder(0)

    def run(name):
        if name == "search/seed0":
            assert add_event(folder, 2, claims.CLAIMED, {})
            raise RuntimeError("of the worker that lost it")
        if name == "retrain/seed1/seed0":
            Claim(folder, 2).end(claims.DONE)

    assert set(work(run).values()) == {"done"}


def test_a_directory_that_another_process_writes_to_is_tried_later(work, study):
    times = []

    def run(name):
        if name == "search/seed0":
            times.append(work.time.now)
            if len(times) < 3:
                raise DirectoryTakenError("Another process is writing.")

    assert set(work(run).values()) == {"done"}
    assert times == [0.0, OPTIONS.stale, 2 * OPTIONS.stale]
    assert kinds(study, 0) == [*("claimed", "released") * 2, "claimed", "done"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_ends_the_worker_and_no_unit(code, work, study):
    def fail(name):
        try:
            raise OSError(code, os.strerror(code))
        except OSError as error:  # as the errors of a run that has begun
            raise RuntimeError(f"{error}. Go on with --resume.") from error

    with pytest.raises(RuntimeError, match="search/seed0: .*no fault of the unit"):
        work(fail)
    assert kinds(study, 0) == ["claimed", "released"] and not kinds(study, 1)
    assert set(work(lambda name: None).values()) == {"done"}


def test_a_disk_that_fails_before_a_run_begins_ends_no_unit_either(work, study):
    def fail(name):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            raise ValueError(f"{name} cannot be written.") from None

    with pytest.raises(RuntimeError, match="No space left"):
        work(fail)
    assert kinds(study, 0) == ["claimed", "released"]


def test_a_worker_whose_heartbeat_is_slow_keeps_its_unit(work, study):
    """It may miss three beats of its own, however impatient the others are."""
    slow = {"epochs": 0, "beat": 10 * OPTIONS.stale}
    assert add_event(study.events_folder(0), 1, claims.CLAIMED, slow)
    times = {}
    work(lambda name: times.setdefault(name, work.time.now))
    assert times["search/seed0"] == 30 * OPTIONS.stale


@pytest.mark.parametrize(
    "code, kind", [(errno.EACCES, ValueError), (errno.EROFS, RuntimeError)]
)
def test_a_worker_that_cannot_claim_says_where_it_may_not_write(
    code, kind, work, study, monkeypatch
):
    def refuse(path, text):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(claims, "_create", refuse)
    with pytest.raises(kind, match="units/00001 cannot be written"):
        work(lambda name: None)


def test_a_failure_that_a_full_disk_cannot_record_ends_the_worker(
    work, study, monkeypatch
):
    def refuse(claim, error):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(name):
        raise FloatingPointError("The loss is nan")

    monkeypatch.setattr(claims.Claim, "fail", refuse)
    with pytest.raises(RuntimeError, match="loss is nan.*could not be recorded"):
        work(fail)


def test_a_claim_says_how_often_its_worker_beats(work, study):
    work(lambda name: None)
    claim = read_events(study.events_folder(0))[0]
    assert claim.details["beat"] == OPTIONS.beat


def test_an_interrupted_worker_gives_its_unit_back(work, study):
    def interrupted(name):
        raise KeyboardInterrupt("Interrupted; a checkpoint was written.")

    with pytest.raises(KeyboardInterrupt, match="search/seed0 was given back"):
        work(interrupted)
    assert kinds(study, 0) == ["claimed", "released"]
    order = []
    work(order.append)
    assert order[0] == "search/seed0" and work.time.now == 0.0


def test_a_unit_with_which_workers_die_is_given_up(work, study, notes):
    folder = study.events_folder(0)
    for number in range(1, MOST_LOST + 1):
        assert add_event(folder, number, claims.CLAIMED, {"epochs": 0})
    order = []
    states = work(order.append)
    assert states["search/seed0"] == "failed" and "search/seed0" not in order
    assert states["search/seed1"] == "done"
    message = unit_statuses(study)[0].message
    assert "workers in a row were lost" in message and "--tries 2" in message
    assert work(order.append, OPTIONS._replace(tries=2))["search/seed0"] == "done"


def test_workers_that_got_on_before_they_died_do_not_count(work, study):
    folder = study.events_folder(0)
    for number in range(1, MOST_LOST + 1):
        epochs = 0 if number == 1 else 1
        assert add_event(folder, number, claims.CLAIMED, {"epochs": epochs})
    run = study.run_folder(study.units[0])
    run.mkdir(parents=True)
    records.append(run / "metrics.jsonl", {"epoch": 0})
    assert set(work(lambda name: None).values()) == {"done"}


def test_a_worker_ends_after_so_many_units_or_so_long_without_one(work, study):
    order = []
    states = work(order.append, OPTIONS._replace(units=1))
    assert order == ["search/seed0"]
    assert sorted(states.values()) == ["done", "ready", "ready", "waiting"]
    for index in (1, 2):
        assert add_event(study.events_folder(index), 1, claims.CLAIMED, {})
    states = work(order.append, OPTIONS._replace(idle=4.0))
    assert order == ["search/seed0"] and work.time.now == 4.0
    assert sorted(states.values()) == ["done", "running", "running", "waiting"]
    work(order.append, OPTIONS._replace(idle=0.0))
    assert work.time.now == 4.0


def test_units_that_are_added_meanwhile_are_found(work, study):
    order = []

    def run(name):
        if not order:
            write_units(study.folder, [*UNITS, unit("search/seed2")])
        order.append(name)

    assert work(run)["search/seed2"] == "done" and len(order) == 5


def test_many_workers_run_each_unit_once(tmp_path):
    units = [unit(f"search/seed{i}") for i in range(20)]
    units += [unit(f"retrain/seed{i}/seed0", f"search/seed{i}") for i in range(20)]
    write_units(tmp_path, units)
    study, ran, start = read_study(tmp_path), [], threading.Barrier(4)
    options = WorkerOptions(beat=0.01, stale=60.0)

    def worker(_):
        start.wait()
        run_units(study, lambda s, u: ran.append(u.run), options, lambda text: None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(worker, range(4)))
    assert sorted(ran) == sorted(each.run for each in units)
    assert all(kinds(study, i) == ["claimed", "done"] for i in range(40))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tries": 0}, "tries is 0"),
        ({"units": 0}, "units is 0"),
        ({"units": 2.5}, "units is 2.5, but must be a whole number from 1"),
        ({"idle": -1.0}, "idle is -1"),
        ({"idle": float("nan")}, "idle is nan"),
        ({"beat": 0.0}, "beat is 0"),
        ({"beat": 1.0, "stale": 2.0}, "Set stale to at least 3"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WorkerOptions(**options).check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no study"),
        ('{"version": 2, "units": []}', "has the version 2"),
        ('{"version": 1, "units": [{"run": "a"}]}', "was altered"),
        ("{", "cannot be read as a JSON object"),
    ],
)
def test_a_directory_without_a_study_is_refused(content, message, tmp_path):
    if content is not None:
        pathlib.Path(tmp_path / "study.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_study(tmp_path)
