"""A line that changes with time, on a terminal and in a log."""

import io
import itertools
import time

from cli.terminal import Terminal

from egnas_jax.cli import changing_line
from egnas_jax.cli.changing_line import changing_line as shown


def wait_for(text, stream):
    while text not in stream.getvalue():
        time.sleep(0.01)


def counting():
    numbers = itertools.count()
    return lambda: f"state {next(numbers)}"


def test_a_terminal_shows_one_line_that_is_gone_at_the_end(monkeypatch):
    monkeypatch.setattr(changing_line, "PERIOD", 0.02)
    stream = Terminal()
    with shown(counting(), stream):
        wait_for("state 2", stream)
    written = stream.getvalue()
    assert written.endswith("\x1b[2K")  # erases the line
    assert "\n" not in written[: written.index("state 2")]


def test_a_log_gets_a_line_after_every_period(monkeypatch):
    monkeypatch.setattr(changing_line, "LOG_PERIOD", 0.01)
    stream = io.StringIO()
    with shown(counting(), stream):
        wait_for("state 2", stream)
    assert stream.getvalue().splitlines()[:3] == ["state 0", "state 1", "state 2"]
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_what_is_soon_done_leaves_no_line_in_a_log():
    stream = io.StringIO()
    with shown(counting(), stream):
        pass
    assert stream.getvalue() == ""


def test_a_reader_that_has_gone_does_not_end_what_runs(monkeypatch):
    monkeypatch.setattr(changing_line, "LOG_PERIOD", 0.01)
    stream = io.StringIO()
    stream.close()
    with shown(counting(), stream):
        time.sleep(0.05)


def test_a_long_line_is_cut_at_the_width_of_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    with shown(lambda: "word " * 30, stream):
        wait_for("word", stream)
    assert "…" in stream.getvalue()
    assert stream.getvalue().count("word") // 8 <= 2
