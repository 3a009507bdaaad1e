"""The process of a job: what it says, when it takes the card, and how it ends."""

import io
import json
import pathlib
import subprocess
import sys
import time

import pytest

from benchmarks.gpu import child
from benchmarks.gpu.child import Context, Settings, UnfinishedError
from benchmarks.gpu.jobs import Job, Stage
from benchmarks.gpu.process import Subprocess, file_name


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, "data", tmp_path / "programs", "cpu")


def said(task, settings, requests='{"beside": 3}\n'):
    answers = io.StringIO()
    context = Context(settings, answers, io.StringIO(requests), flags="")
    child.run(task, context, {"number": 7})
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_a_task_takes_the_card_once_and_writes_its_results(settings):
    def task(context, number):
        context.take_card()
        context.take_card()
        context.write("row", {"number": number, "beside": context.beside})

    ready, result, end = said(task, settings)
    assert ready["event"] == "ready" and ready["machine"]["platform"] == "cpu"
    assert result["result"] == {"number": 7, "beside": 3} and result["name"] == "row"
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
    ],
)
def test_how_a_task_ended_is_said_with_its_reason(error, state, reason, settings):
    def task(context, number):
        context.write("row", {"seconds": 1.0})
        raise error

    result, end = said(task, settings)
    assert result["event"] == "result"
    assert (end["state"], end["reason"]) == (state, reason)


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
import json, os, sys, time
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
    process = Subprocess(job, tmp_path, {})
    assert next_message(process)["text"] == "--of-the-user --of-the-job"
    process.grant(beside=2)
    assert json.loads(next_message(process)["text"]) == {"beside": 2}
    assert process.exit_code() is None
    process.stop()
    until(lambda: process.exit_code() is not None)
    assert process.exit_code() == -15
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


def has_not_ended(number):
    """Whether a process exists and is no zombie, which nobody may have awaited."""
    try:
        state = pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] != "Z"


def next_message(process):
    found = []
    until(lambda: found.extend(process.messages()) or found)
    return found[0]


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
