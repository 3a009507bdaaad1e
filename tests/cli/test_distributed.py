"""Runs one search as two processes over loopback, and loses one of them."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from egnas_jax.cli import distributed
from egnas_jax.cli.main import main
from egnas_jax.space import SPACES, Space
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.signals import FORWARDED

pytestmark = pytest.mark.longest

# without a choice of edges, which would make a controller longer
SPACE = Space(
    "pair", primitives=("avg_pool_3x3", "skip_connect"), num_nodes=1, derive="argmax"
)
PROGRAM = f"""
import sys
from egnas_jax.cli.main import main
from egnas_jax.space import SPACES, Space

SPACES["pair"] = {SPACE!r}
sys.exit(main())
"""
EXCHANGES = """
import json

import jax
import jax.numpy as jnp
import numpy as np
from egnas_jax.cli.distributed import joined
from egnas_jax.training import processes



def fail_in_the_second():
    if jax.process_index():
        raise ValueError("no such file")


with joined(True):
    index, traced = jax.process_index(), []

    def while_tracing(x):
        traced.append(processes.min_over_processes(7 - index))

    numbers = np.array([-0.0, 1.0 + index, -np.inf], np.float32)
    first = processes.broadcast_from_first({"a": numbers, "b": np.int32(index)})
    jax.jit(while_tracing)(jnp.ones(()))
    results = {
        "allgather_json": processes.allgather_json({"text": "x" * (1 + 2 * index)}),
        "any_process": [processes.any_process(flag) for flag in (index == 1, False)],
        "broadcast_from_first": [first["a"].tobytes().hex(), int(first["b"])],
        "min_over_processes": [
            *traced, processes.min_over_processes(None if index else 3)
        ],
    }
    try:
        processes.run_on_all(fail_in_the_second)
    except processes.SharedError as error:
        results["run_on_all"] = str(error)
    print(json.dumps(results))
"""
SEARCH = """
    search --space pair --set supernet.channels=4 --set supernet.layers=1
    --set epochs=500 --set batch_size=128 --set learning_rate=0.01
    --set steps_per_call=2
""".split()
POPULATION = "--set strategy.population=10 --set strategy.fitness_batch_size=64".split()
DARTS = "--strategy darts --set strategy.batch_size=64".split()
# Seconds until processes must have ended: far more than they need on a busy machine,
# for a process that waits for ever fails the test at any limit.
LIMIT = 300


class Ended(NamedTuple):
    """A process after its end.

    Attributes:
      code: exit code, or minus the signal.
      text: its stdout and stderr.
    """

    code: int
    text: str


def by_variables(port, index):
    """JAX's own variables that place a process."""
    return {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(index),
    }


def by_slurm(port, index):
    """The variables that `srun` sets on one node."""
    return {
        "JAX_COORDINATOR_PORT": str(port),
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
    }


def by_open_mpi(port, index):
    """The variables that `mpirun` of Open MPI 5 sets on one node."""
    return {
        "JAX_COORDINATOR_PORT": str(port),
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(index),
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
        "PMIX_NAMESPACE": "prterun-localhost-1@1",
    }


def terminate_as_slurm_does(process):
    """Sends SIGTERM to a process and to those that it started."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for pid in [str(process.pid), *children.read_text().split()]:
        os.kill(int(pid), signal.SIGTERM)


def start(folder, *more, method=POPULATION, place=by_variables, program=PROGRAM):
    """Starts two processes of one search; FOLDER.0 and FOLDER.1 take their output.

    Args:
      more: further arguments of the first and of the second, or nothing.
      method: arguments that choose the search method.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", program, *SEARCH, *method, "--distributed"]
    processes = []
    for index, arguments in enumerate(more or ([], [])):
        with open(f"{folder}.{index}", "wb") as output:
            processes.append(
                subprocess.Popen(
                    [*command, "--out", str(folder), *arguments],
                    env=os.environ | place(port, index),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )
    return processes


def ends(folder, processes):
    """How the processes end; those that run on after LIMIT are killed and fail."""
    deadline, ended = time.monotonic() + LIMIT, []
    try:
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
    for index, process in enumerate(processes):
        with open(f"{folder}.{index}") as output:
            ended.append(Ended(process.returncode, output.read()))
    return ended


def has_line(text, *words):
    """Whether one line has all the words; threads of the runtime may log behind it."""
    return any(all(word in line for word in words) for line in text.splitlines())


def lines_of(folder):
    return records.read(folder / "metrics.jsonl")


def run_until(folder, is_due, act, *more):
    """Acts upon two processes as soon as something is due; returns how they ended."""
    processes = start(folder, *more)
    deadline = time.monotonic() + LIMIT
    while not is_due() and time.monotonic() < deadline:
        if any(process.poll() is not None for process in processes):
            break  # too early: the caller's assertions fail
        time.sleep(0.02)
    act(processes)
    return ends(folder, processes)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A run that loses its worker, is interrupted twice, loses its writer, and ends.

    Returns:
      The run directory, and for each of the five parts how both processes ended;
      "before" and "after" are the records around the interruption, "steps" the
      checkpoints before it.
    """
    folder = tmp_path_factory.mktemp("story") / "run"
    resume, story = [["--resume"]] * 2, {}

    def has_epochs(count):
        return lambda: len(lines_of(folder)) >= count

    story["worker"] = run_until(folder, has_epochs(3), lambda pair: pair[1].kill())
    story["before"] = lines_of(folder)
    story["steps"] = checkpoint.steps(folder / "checkpoints")
    # The last epoch is taken back, so that it runs again.
    shutil.rmtree(folder / "checkpoints" / str(story["steps"][-1]))
    records.keep_before(folder / "metrics.jsonl", len(story["before"]) - 1)
    story["interrupt"] = run_until(
        folder,
        has_epochs(len(story["before"]) + 1),
        lambda pair: pair[1].send_signal(signal.SIGINT),
        *resume,
    )
    environment = folder / "environment.json"  # the writer's first act
    environment.unlink()
    story["compiling"] = run_until(
        folder,
        environment.exists,
        lambda pair: terminate_as_slurm_does(pair[1]),
        *resume,
    )
    story["after"] = lines_of(folder)
    environment.unlink()
    story["writer"] = run_until(
        folder,
        environment.exists,
        lambda pair: pair[0].kill(),
        *resume,
    )
    # No epoch is left to run: the end of a run without its compilations.
    more = ["--resume", "--stop-after", str(len(story["after"]))]
    story["end"] = ends(folder, start(folder, more, more))
    return folder, story


def test_a_lost_worker_ends_the_run_with_a_checkpoint_and_a_message(story):
    _, parts = story
    writer, worker = parts["worker"]
    assert worker.code == -signal.SIGKILL
    assert writer.code == 1
    assert has_line(
        writer.text, "another process of the run was lost", "with --resume"
    ), writer.text
    assert parts["steps"]
    waiting = "Waiting up to 300 s for the other processes of the search."
    assert waiting in writer.text and waiting not in worker.text


def test_a_lost_writer_ends_the_worker_too(story):
    _, parts = story
    writer, worker = parts["writer"]
    assert writer.code == -signal.SIGKILL
    assert worker.code == 1
    assert has_line(
        worker.text, "another process of the run was lost", "with --resume"
    ), worker.text


@pytest.mark.parametrize("part", ["interrupt", "compiling"])
def test_interrupting_one_process_stops_both_with_a_checkpoint(part, story):
    _, parts = story
    for ended in parts[part]:
        assert ended.code == 130
        assert has_line(ended.text, "a checkpoint was written"), ended.text


def test_a_resumed_run_comes_to_the_same_digests(story):
    _, parts = story
    before, after = (
        [line["digest"] for line in parts[name]] for name in ("before", "after")
    )
    assert after[: len(before)] == before
    assert len(after) > len(before)


def test_one_process_finds_the_same_genotype(story, tmp_path):
    folder, parts = story
    assert [ended.code for ended in parts["end"]] == [0, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        alone = ["--stop-after", str(len(parts["after"])), "--out", str(tmp_path / "r")]
        assert main([*SEARCH, *POPULATION, *alone]) == 0
    genotypes = [(f / "genotype.json").read_text() for f in (folder, tmp_path / "r")]
    assert genotypes[0] == genotypes[1]
    for a, b in zip(lines_of(tmp_path / "r"), lines_of(folder), strict=True):
        assert b["genotype"] == a["genotype"]
        assert b["valid_loss"] == pytest.approx(a["valid_loss"], rel=1e-3)


def test_the_environment_lists_the_devices_of_both_processes(story):
    folder, _ = story
    mesh = json.loads((folder / "environment.json").read_text())["mesh"]
    assert mesh["processes"] == 2
    assert [device["process"] for device in mesh["devices"]] == [0, 1]
    assert mesh["population"]["of_device"] == [[0, 6], [6, 11]]


def test_processes_with_unlike_settings_are_refused_by_all(tmp_path):
    """The processes find each other as under SLURM."""
    pair = start(tmp_path / "run", [], ["--set", "seed=7"], place=by_slurm)
    for ended in ends(tmp_path / "run", pair):
        assert ended.code == 2
        assert "Process 1 was started with other settings" in ended.text
        assert "seed: 0 -> 7" in ended.text
    assert not (tmp_path / "run").exists()


def test_collectives_give_both_processes_the_same_values(tmp_path):
    """The processes find each other as under Open MPI 5."""
    pair = start(tmp_path / "none", place=by_open_mpi, program=EXCHANGES)
    for ended in ends(tmp_path / "none", pair):
        assert ended.code == 0, ended.text
        (printed,) = [line for line in ended.text.splitlines() if line[:1] == "{"]
        assert json.loads(printed) == {
            "allgather_json": [{"text": "x"}, {"text": "xxx"}],
            "any_process": [True, False],
            # -0.0, 1.0, -inf
            "broadcast_from_first": ["000000800000803f000080ff", 0],
            "min_over_processes": [6, None],
            "run_on_all": "Process 1: no such file",
        }


def test_a_repeated_sigterm_is_handed_on_once(monkeypatch):
    """`timeout` sends SIGTERM to the process and to its group."""
    sent = []
    monkeypatch.setattr(distributed.os, "kill", lambda pid, number: sent.append(number))
    asked, previous = distributed._hand_on_signals(1)
    try:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert asked == [signal.SIGTERM]
        signal.raise_signal(signal.SIGINT)  # a second request
        assert asked == [signal.SIGTERM, signal.SIGINT]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    assert sent == [FORWARDED] * 2


def test_one_process_replays_the_shards_of_two(tmp_path):
    """One device computes both shards, each with the program of a device alone.

    Other methods are replayed on eight devices of one process
    (tests/training/shards_on_eight_devices.py).
    """
    run = tmp_path / "run"
    more = ["--set", "shards=2", "--stop-after", "1"]
    pair = start(run, more, more, method=DARTS)
    assert [ended.code for ended in ends(run, pair)] == [0, 0]
    assert len(lines_of(run)) == 1
    replay = [sys.executable, "-c", PROGRAM, "verify", str(run), "--from-start"]
    subprocess.run(replay, check=True, timeout=LIMIT)
