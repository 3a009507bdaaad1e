"""SIGTERM ends a training loop as SIGINT does."""

import signal
import subprocess
import sys

import pytest

from egnas_jax.training.interrupt import InterruptFlag
from egnas_jax.training.signals import ECHO, InterruptAtOnce


@pytest.fixture
def handlers():
    """Sets handlers of signals, and puts the earlier ones back."""
    previous = {}

    def set_handler(number, handler):
        previous.setdefault(number, signal.getsignal(number))
        signal.signal(number, handler)

    yield set_handler
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered_and_handlers_come_back(number):
    said, before = [], signal.getsignal(number)
    with InterruptFlag(said.append) as interrupted:
        assert not interrupted()
        signal.raise_signal(number)
        assert interrupted()
    assert said == ["Stopping at the next checkpoint; once more stops at once."]
    assert signal.getsignal(number) == before


def test_a_sigterm_that_comes_twice_at_once_counts_once(handlers, monkeypatch):
    """`timeout` sends it to the process and to the group of the process."""
    handlers(signal.SIGTERM, InterruptAtOnce())
    with InterruptFlag(lambda text: None) as interrupted:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()


def test_a_later_sigterm_acts_at_once(handlers, monkeypatch):
    handlers(signal.SIGTERM, InterruptAtOnce())
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with InterruptFlag(lambda text: None):
        signal.raise_signal(signal.SIGTERM)
        now[0] = ECHO
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_without_a_handler_of_python_the_second_sigterm_kills():
    program = (
        "import signal, time\n"
        "from egnas_jax.training.interrupt import InterruptFlag\n"
        "now = [0.0]\n"
        "time.monotonic = lambda: now[0]\n"
        "with InterruptFlag(print):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    now[0] = 1.0\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == -signal.SIGTERM


def test_ignored_signals_and_handlers_of_the_caller_stay(handlers):
    calls = []
    handlers(signal.SIGINT, signal.SIG_IGN)
    handlers(signal.SIGTERM, lambda number, frame: calls.append(number))
    with InterruptFlag(lambda text: None) as interrupted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert not interrupted()
    assert calls == [signal.SIGTERM]


def test_outside_a_loop_both_signals_raise_keyboard_interrupt(handlers):
    handler = InterruptAtOnce()
    for number in (signal.SIGINT, signal.SIGTERM):
        handlers(number, handler)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)  # the echo
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
