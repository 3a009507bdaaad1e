"""The process of a job: what it says, when it takes the card, and how it ends."""

import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from benchmarks.gpu import child
from benchmarks.gpu.child import Context, Settings
from benchmarks.gpu.ends import UnfinishedError, WrongError
from benchmarks.gpu.guard import halted_groups
from benchmarks.gpu.jobs import Job, Stage
from benchmarks.gpu.process import Subprocess, file_name


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, "data", tmp_path / "programs", "cpu")


def said(task, settings, requests='{"beside": 3, "halted": 2}\n'):
    answers = io.StringIO()
    context = Context(settings, answers, io.StringIO(requests), flags="")
    child.run(task, context, {"number": 7})
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_a_task_takes_the_card_once_and_writes_its_results(settings):
    def task(context, number):
        context.take_card()
        context.take_card()
        others = {"beside": context.beside, "halted": context.halted}
        context.write("row", {"number": number} | others)

    ready, result, end = said(task, settings)
    assert ready["event"] == "ready" and ready["machine"]["platform"] == "cpu"
    assert result["result"] == {"number": 7, "beside": 3, "halted": 2}
    assert result["name"] == "row"
    assert end == {"event": "end", "state": "done", "reason": ""}


def test_infinite_numbers_are_written_as_json(settings):
    def task(context, number):
        context.write("row", {"loss": float("nan")})

    assert said(task, settings)[0]["result"] == {"loss": None}


@pytest.mark.parametrize(
    "error, state, reason",
    [
        (UnfinishedError("3 of 50 epochs"), "stopped", "3 of 50 epochs"),
        (ValueError("first line\nsecond"), "failed", "ValueError: first line"),
        (WrongError("too far"), "wrong", "WrongError: too far"),
    ],
)
def test_how_a_task_ended_is_said_with_its_reason(error, state, reason, settings):
    def task(context, number):
        context.write("row", {"seconds": 1.0})
        raise error

    result, end = said(task, settings)
    assert result["event"] == "result"
    assert (end["state"], end["reason"]) == (state, reason)


UNFINISHED = """
import runpy, sys
from benchmarks.gpu import ends, tasks

def end(context):
    raise getattr(ends, sys.argv.pop())("3 of 50")

tasks.task_named = lambda name: end
runpy.run_module("benchmarks.gpu.child", run_name="__main__")
"""


@pytest.mark.parametrize(
    "error, state", [("UnfinishedError", "stopped"), ("WrongError", "wrong")]
)
def test_the_process_of_a_job_knows_the_errors_of_its_task(error, state, settings):
    job = Job("a job", Stage("speed", "", 60.0), "task", {})
    process = subprocess.Popen(
        [sys.executable, "-c", UNFINISHED, json.dumps(job), error],
        env=os.environ | child.environment_of(settings),
        stdin=subprocess.PIPE,  # stays open, as a campaign's does
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        last = json.loads(process.stdout.readlines()[-1])
        process.stdin.close()
    assert (last["event"], last["state"]) == ("end", state)


def test_settings_pass_through_the_environment(settings):
    environment = child.environment_of(settings)
    assert child.settings_of(environment) == settings
    without = settings._replace(data_dir=None, executables=None)
    assert child.settings_of(child.environment_of(without)) == without


def test_only_one_process_may_reserve_the_memory_of_the_card(settings):
    environment = child.environment_of(settings._replace(platform="gpu"))
    assert environment["JAX_PLATFORMS"] == "cuda,cpu"
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_names_of_files_are_plain():
    assert file_name("float32: weight-step, default") == "float32-weight-step-default"
    assert file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


SCRIPT = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(3))  # as if it saved
print(json.dumps({"event": "flags", "text": os.environ["XLA_FLAGS"]}), flush=True)
print(json.dumps({"event": "granted", "text": sys.stdin.readline()}), flush=True)
print("into the log", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_process_exchanges_messages_and_ends_when_it_is_asked(tmp_path, monkeypatch):
    real = sys.executable
    launcher = tmp_path / "python"
    launcher.write_text(f"#!/bin/sh\nexec {real} -c '{SCRIPT}'\n")
    launcher.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(launcher))
    monkeypatch.setenv("XLA_FLAGS", "--of-the-user")
    job = Job("a: job", Stage("a", "", 1.0), "row", {}, flags="--of-the-job")
    guarded = []
    process = Subprocess(job, tmp_path, {}, SimpleNamespace(note=note_into(guarded)))
    assert next_message(process)["text"] == "--of-the-user --of-the-job"
    process.grant(beside=2, halted=1)
    granted = json.loads(next_message(process)["text"])
    assert granted == {"beside": 2, "halted": 1}
    assert process.exit_code() is None
    process.halt()
    until(lambda: state_of(process.process.pid) == "T")
    assert guarded == [True]
    process.go_on()
    until(lambda: state_of(process.process.pid) == "S")
    process.halt()
    process.stop()  # also of a halted process
    until(lambda: process.exit_code() is not None)
    assert process.exit_code() == 3
    process.stop(at_once=True)  # of a process that has ended
    assert "into the log" in (tmp_path / "logs" / "a-job.txt").read_text()


JOB_THAT_GOES_ON = """
import subprocess, sys, time
from benchmarks.gpu.child import Requests, end_at_once
requests = Requests(sys.stdin, end_at_once)
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(requests.readline().strip(), started.pid, flush=True)
time.sleep(60)
"""
CAMPAIGN = """
import subprocess, sys, time
pipe = subprocess.PIPE
job = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], stdin=pipe, text=True, start_new_session=True
)
job.stdin.write("granted\\n")
job.stdin.flush()
time.sleep(60)
"""


def test_a_job_and_what_it_started_end_with_a_campaign_that_is_killed():
    campaign = subprocess.Popen(
        [sys.executable, "-c", CAMPAIGN, JOB_THAT_GOES_ON],
        stdout=subprocess.PIPE,
        text=True,
    )
    word, number = campaign.stdout.readline().split()
    assert word == "granted" and has_not_ended(int(number))
    campaign.kill()
    campaign.communicate(timeout=20)  # until the job, which shares stdout, has ended
    until(lambda: not has_not_ended(int(number)))


GUARDING_CAMPAIGN = """
import os, signal, subprocess, sys, time
from benchmarks.gpu.guard import Guard
guard = Guard()
job = "import subprocess; subprocess.run(['sleep', '60'])"
groups = [
    subprocess.Popen([sys.executable, "-c", job], start_new_session=True).pid
    for _ in range(2)
]
for group in groups:
    guard.note(group, is_halted=True)
    os.killpg(group, signal.SIGSTOP)
os.killpg(groups[1], signal.SIGCONT)
guard.note(groups[1], is_halted=False)
print(*groups, guard.process.pid, flush=True)
time.sleep(60)
"""


def test_halted_jobs_are_killed_with_a_campaign_that_is_killed():
    """A job that is not halted notices the end itself, so the guard leaves it alone."""
    campaign = subprocess.Popen(
        [sys.executable, "-c", GUARDING_CAMPAIGN], stdout=subprocess.PIPE, text=True
    )
    halted, running, guard = map(int, campaign.stdout.readline().split())
    try:
        until(lambda: state_of(halted) == "T")
        assert has_not_ended(guard)
        campaign.kill()
        campaign.wait()
        until(lambda: not has_not_ended(halted) and not has_not_ended(guard))
        assert has_not_ended(running)
    finally:
        campaign.kill()
        for group in (halted, running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        campaign.stdout.close()


def test_the_guard_knows_which_groups_are_halted():
    assert halted_groups(["+10\n", "+20\n", "-10\n", "-30\n", "+40\n"]) == {20, 40}


def note_into(notes):
    return lambda group, *, is_halted: notes.append(is_halted)


def state_of(number):
    """The letter of a process's state: T halted, Z zombie; None where there is none."""
    try:
        state = pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2]
    except OSError:
        return None
    return state.split()[0]


def has_not_ended(number):
    """Whether a process exists and is no zombie, which nobody may have awaited."""
    return state_of(number) not in (None, "Z")


def next_message(process):
    found = []
    until(lambda: found.extend(process.messages()) or found)
    return found[0]


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
