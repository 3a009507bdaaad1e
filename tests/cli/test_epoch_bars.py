"""What a run shows while its epochs go on."""

import contextlib
import re

import pytest
from cli.terminal import Terminal

from egnas_jax.cli.epoch_bars import EpochBars, Pace


def line(record, epochs):
    return f"epoch {record['epoch'] + 1}/{epochs}"


def record(epoch, seconds=2.0):
    return {"epoch": epoch, "seconds": seconds}


@contextlib.contextmanager
def on_terminal(*arguments, **options):
    """The bars of a run of three epochs, and what a terminal has got from them."""
    with (
        contextlib.redirect_stderr(Terminal()) as stream,  # after pytest has set it
        EpochBars(3, line, *arguments, **options) as bars,
    ):
        yield bars, stream


@pytest.fixture(autouse=True)
def kind_of_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def test_a_log_gets_one_line_an_epoch_and_nothing_else(capsys):
    with EpochBars(3, line) as bars:
        bars.on_steps(1, 4)
        bars.on_epoch(record(0, 9.0))
        bars.on_epoch(record(1, 2.0))
        with bars.hidden():
            pass
    shown = capsys.readouterr()
    assert shown.err == ("epoch 1/3, at most 18 s left\nepoch 2/3, about 2 s left\n")
    assert shown.out == ""


def test_a_terminal_shows_lines_and_bars_below_them():
    with on_terminal() as (bars, stream):
        bars.on_steps(1, 4)
        bars.on_epoch(record(0))
        bars.on_steps(2, 4)
        bars.progress.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "epoch 1/3\n" in shown
    assert "1 of 3 epochs, at most 4 s left" in shown
    assert "this epoch" in shown
    assert stream.getvalue().endswith("\x1b[2K")  # the bars are gone


def test_bars_move_with_the_steps_and_the_epochs():
    with on_terminal() as (bars, _):
        bars.on_steps(3, 4)
        running, whole = bars.progress.tasks
        assert (running.completed, running.total) == (3, 4)
        assert (whole.completed, whole.total) == (0, 3)
        bars.on_epoch(record(0))
        assert (running.completed, whole.completed) == (0, 1)


def test_the_bars_are_away_while_a_later_stage_compiles():
    with on_terminal() as (bars, _):
        bars.on_steps(3, 4)
        with bars.hidden():
            assert not bars.progress.live.is_started
        assert bars.progress.live.is_started
    assert not bars.progress.live.is_started


def test_a_quiet_run_shows_nothing():
    with on_terminal(quiet=True) as (bars, stream):
        bars.on_steps(1, 4)
        bars.on_epoch(record(0))
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "seconds, text",
    [
        ([4.0], "at most 40 s left"),  # which may have compiled
        ([60.0, 3.0], "about 30 s left"),
        ([60.0, 9.0, 3.0, 5.0, 4.0], "about 40 s left"),
        ([60.0, 90.0], "about 15 min left"),
        ([4.0, 4.0, 4.0], "at most 40 s left"),  # evaluated together
        ([60.0, 1230.0], "about 3 h 25 min left"),
    ],
)
def test_the_time_left_follows_from_the_last_three_epochs(seconds, text):
    pace = Pace(20)
    for each in seconds:
        pace.add(record(0, each))
    assert pace.left(epoch=9) == text
