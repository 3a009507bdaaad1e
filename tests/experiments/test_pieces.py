"""Runs are carried forward in pieces, and interrupted within the process."""

import os
import signal
import threading
import time

import pytest

from egnas_jax.storage import records
from egnas_jax.training.interrupt import Interrupted, InterruptFlag


def checkpointing_run(started=lambda: None):
    """Runs until it is interrupted, and saves, as a search does."""
    with InterruptFlag(lambda text: None) as interrupted:
        started()
        while not interrupted():
            time.sleep(0.01)
    raise Interrupted


@pytest.fixture(autouse=True)
def handlers_stay_as_they_were():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_run_is_interrupted_when_its_time_is_up(load):
    deadline = time.monotonic() + 0.2
    assert load("pieces").run_until(checkpointing_run, deadline)
    assert time.monotonic() >= deadline


def test_a_run_whose_time_is_up_already_is_interrupted_at_once(load):
    def run():  # it does not handle signals yet
        time.sleep(60)

    started = time.monotonic()
    assert load("pieces").run_until(run, started)
    assert time.monotonic() < started + 30


def test_a_run_that_ends_in_time_is_not_interrupted(load):
    calls = []
    assert not load("pieces").run_until(lambda: calls.append(1), time.monotonic() + 60)
    assert not load("pieces").run_until(lambda: calls.append(2), None)
    assert calls == [1, 2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt_a_run_even_where_sigint_was_ignored(number, load):
    def send():
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert load("pieces").run_until(lambda: checkpointing_run(send), None)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_that_lost_the_signal_is_interrupted_again(load, monkeypatch):
    def run():
        try:
            time.sleep(60)
        except KeyboardInterrupt:  # lost
            time.sleep(60)

    monkeypatch.setattr(load("pieces"), "PATIENCE", 0.3)
    assert load("pieces").run_until(run, time.monotonic())


def test_a_run_that_fails_ends_the_piece_with_its_error(load, stand_in, tmp_path):
    def fail(call):
        raise RuntimeError("out of memory")

    stand_in(fail)
    pieces = load("pieces")
    job = load("methods").Method().job(tmp_path / "run", 0, None)
    with pytest.raises(RuntimeError, match="out of memory"):
        pieces.carry([job], pieces.Limits())


def test_a_search_that_stopped_early_has_ended(load, tmp_path):
    pieces = load("pieces")
    method = load("methods").Method(settings={"epochs": 9})
    job = method.job(tmp_path, 0, None)
    records.append(tmp_path / "metrics.jsonl", {"valid_accuracy": 0.5, "seconds": 1})
    for summary, ended in (
        ({"epochs": 1, "early_stop": None}, False),
        ({"epochs": 1, "early_stop": 0}, True),
    ):
        records.write_json(tmp_path / "summary.json", summary)
        assert bool(pieces.summary_of(job)) is ended
        assert ("1 of 9 epochs (stopped early)" in pieces.progress([job])) is ended
