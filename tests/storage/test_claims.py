"""Claims of units: one holder at a time, also when holders vanish or come back."""

import concurrent.futures
import errno
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from egnas_jax.storage import checkpoint, claims, records
from egnas_jax.storage.claims import (
    CLAIMED,
    DONE,
    FAILED,
    RELEASED,
    Claim,
    ClaimLostError,
    Heartbeats,
    add_event,
    beat_path,
    read_events,
)
from egnas_jax.storage.fence import fenced

CONTENDERS = 8


@pytest.fixture(params=["links", "no links"])
def any_file_system(request, monkeypatch):
    """A file system with hard links, and one without."""
    if request.param == "no links":

        def no_link(*arguments):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

        monkeypatch.setattr(os, "link", no_link)


def claimed(folder, number=1):
    assert add_event(folder, number, CLAIMED, {})
    return Claim(folder, number)


def kinds(folder):
    return [event.kind for event in read_events(folder)]


def test_of_many_that_claim_at_once_one_succeeds(tmp_path, any_file_system):
    start = threading.Barrier(CONTENDERS)

    def contend(contender):
        won = []
        for unit in range(20):
            start.wait()
            if add_event(tmp_path / str(unit), 1, CLAIMED, {"contender": contender}):
                won.append(unit)
        return won

    with concurrent.futures.ThreadPoolExecutor(CONTENDERS) as pool:
        won = list(pool.map(contend, range(CONTENDERS)))
    assert sorted(unit for units in won for unit in units) == list(range(20))
    for contender, units in enumerate(won):
        for unit in units:
            (event,) = read_events(tmp_path / str(unit))
            assert event.details["contender"] == contender
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_event_names_its_process(tmp_path):
    claimed(tmp_path)
    (event,) = read_events(tmp_path)
    assert (event.number, event.kind) == (1, CLAIMED)
    assert event.process == f"{os.uname().nodename}:{os.getpid()}"


def test_a_claim_ends_once(tmp_path, any_file_system):
    claim = claimed(tmp_path)
    claim.check()
    claim.end(DONE)
    with pytest.raises(ClaimLostError):
        claim.end(FAILED)
    with pytest.raises(ClaimLostError):
        claim.check()
    assert kinds(tmp_path) == [CLAIMED, DONE]


def test_a_holder_whose_claim_was_taken_over_can_neither_end_nor_write(tmp_path):
    claim = claimed(tmp_path / "unit")
    run = tmp_path / "run"
    run.mkdir()
    with fenced(claim.check):
        records.append(run / "metrics.jsonl", {"epoch": 0})
        newer = claimed(tmp_path / "unit", 2)
        before = {path: path.read_bytes() for path in run.iterdir()}
        for write in (
            lambda: records.append(run / "metrics.jsonl", {"epoch": 1}),
            lambda: records.keep_before(run / "metrics.jsonl", 0),
            lambda: records.write_json(run / "summary.json", {}),
            lambda: checkpoint.save(run / "checkpoints", 0, {}, {}),
        ):
            with pytest.raises(ClaimLostError, match="has taken .* over"):
                write()
        assert {path: path.read_bytes() for path in run.iterdir()} == before
        with pytest.raises(ClaimLostError):
            claim.end(DONE)
    records.write_json(run / "summary.json", {})  # outside of the fence
    newer.end(RELEASED)
    assert kinds(tmp_path / "unit") == [CLAIMED, CLAIMED, RELEASED]


def test_a_fence_stops_a_checkpoint_from_removing_those_of_a_new_holder(
    tmp_path, monkeypatch
):
    claim = claimed(tmp_path / "unit")
    import numpy as np

    tree = {"a": np.zeros(2)}
    checkpoint.save(tmp_path / "c", 5, tree, {})
    write = checkpoint._write

    def slow(*arguments):
        write(*arguments)
        claimed(tmp_path / "unit", 2)

    monkeypatch.setattr(checkpoint, "_write", slow)
    with fenced(claim.check), pytest.raises(ClaimLostError):
        checkpoint.save(tmp_path / "c", 3, tree, {})
    assert 5 in checkpoint.steps(tmp_path / "c")


def test_an_error_is_recorded_with_its_type_and_place(tmp_path):
    claim = claimed(tmp_path)
    try:
        raise FloatingPointError("The loss is nan.")
    except FloatingPointError as error:
        claim.fail(error)
    event = read_events(tmp_path)[-1]
    assert event.kind == FAILED
    assert event.details["message"] == "FloatingPointError: The loss is nan."
    assert "test_claims.py" in event.details["traceback"]


def test_an_event_that_was_cut_off_counts_as_a_claim_of_nobody(tmp_path):
    (tmp_path / "000001.json").write_bytes(b"")
    (event,) = read_events(tmp_path)
    assert (event.kind, event.process) == (CLAIMED, "?:?")


def test_a_lost_answer_of_a_server_is_no_lost_claim(tmp_path, monkeypatch):
    link = os.link

    def linked_but_refused(source, target):
        link(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", linked_but_refused)
    assert add_event(tmp_path, 1, CLAIMED, {})
    assert not add_event(tmp_path, 1, CLAIMED, {})
    assert len(read_events(tmp_path)) == 1


class Now:
    """A clock that a test sets."""

    def __init__(self):
        self.seconds = 1e6

    def __call__(self):
        return self.seconds


def test_a_claim_is_stale_when_its_heartbeat_has_not_changed_for_long_enough(tmp_path):
    now = Now()
    heartbeats, path = Heartbeats(10.0, now), beat_path(tmp_path, 1)
    assert not heartbeats.is_stale(tmp_path, 1)  # the first look starts the time
    now.seconds += 9
    path.write_bytes(b"1")
    assert not heartbeats.is_stale(tmp_path, 1)
    os.utime(path, (0, 0))  # the clock of another host does not count
    now.seconds += 9
    assert not heartbeats.is_stale(tmp_path, 1)
    now.seconds += 1
    assert heartbeats.is_stale(tmp_path, 1)
    path.write_bytes(b"2")
    assert not heartbeats.is_stale(tmp_path, 1)
    assert not heartbeats.is_stale(tmp_path, 2)  # another claim has a time of its own


def test_a_claim_without_any_heartbeat_becomes_stale(tmp_path):
    now = Now()
    heartbeats = Heartbeats(10.0, now)
    assert not heartbeats.is_stale(tmp_path, 1)
    now.seconds += 10
    assert heartbeats.is_stale(tmp_path, 1)


def test_a_thread_beats_while_the_main_thread_is_busy(tmp_path):
    claim = claimed(tmp_path)
    heartbeats = Heartbeats(0.5)
    with claim.beating(0.02):
        for _ in range(30):
            time.sleep(0.03)
            assert not heartbeats.is_stale(tmp_path, 1)
    end = beat_path(tmp_path, 1).read_bytes()
    time.sleep(0.1)
    assert beat_path(tmp_path, 1).read_bytes() == end  # the thread has ended


HOLD = """
import pathlib, sys, time
from egnas_jax.storage.claims import CLAIMED, Claim, add_event
folder = pathlib.Path(sys.argv[1])
assert add_event(folder, 1, CLAIMED, {})
with Claim(folder, 1).beating(0.02):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_heartbeat_of_a_killed_process_stops(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "held\n"
        heartbeats = Heartbeats(0.5)
        for _ in range(20):
            time.sleep(0.03)
            assert not heartbeats.is_stale(tmp_path, 1)
        process.kill()
    deadline = time.monotonic() + 10
    while not heartbeats.is_stale(tmp_path, 1):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_module_does_without_jax():
    code = "import egnas_jax.storage.claims, sys; assert 'jax' not in sys.modules"
    root = pathlib.Path(claims.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
