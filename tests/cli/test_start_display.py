"""What a search shows before its first epoch."""

import subprocess
import sys

import pytest

from egnas_jax.cli import start_display
from egnas_jax.cli.start_display import (
    LOG,
    CompileProgress,
    StartDisplay,
    describe,
    stderr_in_file,
)
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.training.program_cache import CompilePlan


class Clock:
    """A `time.monotonic` that a test moves."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(start_display, "time", clock)
    return clock


def plan(*cached, seconds=None):
    return CompilePlan(("train", "evolve"), frozenset(cached), seconds)


def test_the_line_says_what_each_program_does_and_for_how_long(clock):
    progress = CompileProgress(plan())
    progress.report("train", "tracing")
    clock.now += 3
    assert progress.text() == (
        "Compiling 2 programs, 3 s so far: train tracing 3 s, evolve waiting"
    )
    progress.report("train", "compiling")
    clock.now += 20
    progress.report("evolve", "ready")
    assert progress.text() == (
        "Compiling 2 programs, 23 s so far: train compiling 20 s, evolve ready"
    )
    assert progress.summary() == "Compiling 2 programs: done in 23 s."


@pytest.mark.parametrize(
    "cached, what",
    [
        ([], "Compiling 2 programs, 0 s"),
        (["train"], "Compiling 1 of 2 programs, 1 from the cache, 0 s"),
        (["train", "evolve"], "Reading 2 programs from the cache, 0 s"),
    ],
)
def test_the_line_says_what_comes_from_the_cache(cached, what):
    assert CompileProgress(plan(*cached)).text().startswith(what)


def test_the_line_says_how_long_it_took_the_last_time(clock):
    progress = CompileProgress(plan(seconds=61.4))
    clock.now += 2
    assert ", 2 s of about 61: " in progress.text()


ALARM = """
import os, pathlib, sys
from egnas_jax.cli.start_display import stderr_in_file

print("before", file=sys.stderr)
with stderr_in_file(pathlib.Path(sys.argv[1])):
    if sys.argv[2]:
        os.write(2, b"Very slow compile?\\n")
    print("between", file=sys.stderr)
os.write(2, b"after\\n")
"""


@pytest.mark.parametrize("alarm", [True, False])
def test_what_libraries_print_goes_into_a_file(tmp_path, alarm):
    path = tmp_path / LOG
    result = subprocess.run(
        [sys.executable, "-c", ALARM, str(path), "alarm" if alarm else ""],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr.splitlines() == ["before", "between", "after"]
    assert path.exists() == alarm
    if alarm:
        assert path.read_text() == "Very slow compile?\n"


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path, capfd):
    with stderr_in_file(tmp_path / "missing" / LOG):
        print("shown", file=sys.stderr)
    assert capfd.readouterr().err == "shown\n"


def test_the_data_are_described_before_programs_compile(capsys):
    setup = set_up_search(search_config(settings={"epochs": 3}))
    text = (
        "digits: 719 training and 719 validation images of 8x8x1, 10 classes; 3 "
        "epochs of 22 steps with egnas."
    )
    assert describe(setup) == text
    with StartDisplay(quiet=False, folder=None) as display:
        display.data_loaded(setup)
        with display.compiling(plan()) as report:
            report("train", "compiling")
    shown = capsys.readouterr().err
    assert shown.index(text) < shown.index("Compiling 2 programs: done in 0 s.\n")


def test_a_quiet_display_writes_nothing(capsys):
    with StartDisplay(quiet=True, folder=None) as display:
        display.data_loaded(None)
        with display.compiling(plan()) as report:
            report("train", "ready")
    assert capsys.readouterr().err == ""
