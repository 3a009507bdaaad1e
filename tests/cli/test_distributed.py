"""Two processes of one search over loopback, and what becomes of it if one is lost."""

import json
import os
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

SPACE = Space("pair", primitives=("avg_pool_3x3", "skip_connect"), num_nodes=1)
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
from egnas_jax.search import processes


def fail_in_the_second():
    if jax.process_index():
        raise ValueError("no such file")


with joined(True):
    own, seen = jax.process_index(), []
    numbers = np.array([-0.0, 1.0 + own, -np.inf], np.float32)
    first = processes.broadcast_from_first({"a": numbers, "b": np.int32(own)})
    jax.jit(lambda x: seen.append(processes.min_over_processes(7 - own)))(jnp.ones(()))
    told = {
        "exchange": processes.allgather_json({"text": "x" * (1 + 2 * own)}),
        "anywhere": [processes.any_process(own == 1), processes.any_process(False)],
        "from_first": [first["a"].tobytes().hex(), int(first["b"])],
        "least": [*seen, processes.min_over_processes(None if own else 3)],
    }
    try:
        processes.run_on_all(fail_in_the_second)
    except processes.SharedError as error:
        told["together"] = str(error)
    print(json.dumps(told))
"""
SEARCH = [
    "search",
    "--space",
    "pair",
    "--set",
    "supernet.channels=4",
    "--set",
    "supernet.layers=1",
    "--set",
    "epochs=500",
    "--set",
    "batch_size=128",
    "--set",
    "strategy.population=10",
    "--set",
    "strategy.fitness_batch_size=64",
    "--set",
    "learning_rate=0.01",
    "--set",
    "steps_per_call=2",
]
LIMIT = 30  # seconds from a loss to the end; it is known by a closed connection


class Ended(NamedTuple):
    """A process after its end.

    Attributes:
      code: exit code, or minus the signal.
      text: what it said.
    """

    code: int
    text: str


def by_variables(port, number):
    """What tells a process where it belongs."""
    return {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(number),
    }


def by_slurm(port, number):
    """The same as `srun` tells it, on one node."""
    return {
        "JAX_COORDINATOR_PORT": str(port),
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(number),
        "SLURM_LOCALID": str(number),
    }


def start(folder, *more, place=by_variables, program=PROGRAM):
    """Two processes that search into one folder; what they say goes beside it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # compiles sooner
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-c", program, *SEARCH, "--distributed"]
    processes = []
    for number, own in enumerate(more or ([], [])):
        with open(f"{folder}.{number}", "wb") as said:
            processes.append(
                subprocess.Popen(
                    [*command, "--out", str(folder), *own],
                    env=environment | place(port, number),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            )
    return processes


def ends(folder, processes, limit):
    """How they end within so many seconds; killed, and failed, where they do not."""
    stop, ended = time.monotonic() + limit, []
    try:
        for process in processes:
            process.wait(max(0.0, stop - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
    for number, process in enumerate(processes):
        with open(f"{folder}.{number}") as said:
            ended.append(Ended(process.returncode, said.read()))
    return ended


def lines_of(folder):
    return records.read(folder / "metrics.jsonl")


def run_until(folder, due, act, *more):
    """Acts upon two processes as soon as something is due; how they ended."""
    processes = start(folder, *more)
    while not due():
        if any(process.poll() is not None for process in processes):
            break  # which the caller's assertions tell
        time.sleep(0.02)
    act(processes)
    return ends(folder, processes, LIMIT)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A run that loses its worker, is interrupted, loses its writer, and ends."""
    folder = tmp_path_factory.mktemp("story") / "run"
    resumed, told = [["--resume"]] * 2, {}

    def epochs(number):
        return lambda: len(lines_of(folder)) >= number

    told["worker"] = run_until(folder, epochs(3), lambda pair: pair[1].kill())
    told["before"] = lines_of(folder)
    told["steps"] = checkpoint.steps(folder / "checkpoints")
    # an epoch back, so that the last one is run again
    shutil.rmtree(folder / "checkpoints" / str(told["steps"][-1]))
    records.keep_before(folder / "metrics.jsonl", len(told["before"]) - 1)
    told["interrupt"] = run_until(
        folder,
        epochs(len(told["before"]) + 1),
        lambda pair: pair[1].send_signal(signal.SIGINT),
        *resumed,
    )
    told["after"] = lines_of(folder)
    (folder / "environment.json").unlink()  # the writer's first act, before it computes
    told["writer"] = run_until(
        folder,
        (folder / "environment.json").exists,
        lambda pair: pair[0].kill(),
        *resumed,
    )
    # nothing is left to train: what a run does at its end, without its compilations
    more = ["--resume", "--stop-after", str(len(told["after"]))]
    told["end"] = ends(folder, start(folder, more, more), 120)
    return folder, told


def test_a_lost_worker_ends_the_run_with_a_checkpoint_and_says_so(story):
    _, told = story
    writer, worker = told["worker"]
    assert worker.code == -signal.SIGKILL
    assert writer.code == 1
    last = writer.text.splitlines()[-1]
    assert "another process of the run was lost" in last
    assert "with --resume" in last
    assert told["steps"]


def test_a_lost_writer_ends_the_other_too(story):
    _, told = story
    writer, worker = told["writer"]
    assert writer.code == -signal.SIGKILL
    assert worker.code == 1
    assert "with --resume" in worker.text.splitlines()[-1]


def test_an_interrupted_process_stops_all_with_a_checkpoint(story):
    _, told = story
    for ended in told["interrupt"]:
        assert ended.code == 130
        assert "a checkpoint was written" in ended.text.splitlines()[-1]


def test_a_resumed_run_comes_to_the_same_digests(story):
    _, told = story
    before, after = (
        [line["digest"] for line in told[name]] for name in ("before", "after")
    )
    assert after[: len(before)] == before
    assert len(after) > len(before)


def test_one_process_finds_the_same_genotype(story, tmp_path):
    folder, told = story
    assert [ended.code for ended in told["end"]] == [0, 0]
    last = len(told["after"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        alone = ["--stop-after", str(last), "--out", str(tmp_path / "run")]
        assert main([*SEARCH, *alone]) == 0
    genotypes = [(f / "genotype.json").read_text() for f in (folder, tmp_path / "run")]
    assert genotypes[0] == genotypes[1]
    one, two = lines_of(tmp_path / "run"), lines_of(folder)
    for a, b in zip(one, two, strict=True):
        assert b["genotype"] == a["genotype"]
        assert b["valid_loss"] == pytest.approx(a["valid_loss"], rel=1e-4)


def test_the_environment_tells_whose_devices_they_are(story):
    folder, _ = story
    mesh = json.loads((folder / "environment.json").read_text())["mesh"]
    assert mesh["processes"] == 2
    assert [device["process"] for device in mesh["devices"]] == [0, 1]
    assert mesh["population"]["of_device"] == [[0, 6], [6, 11]]


def test_processes_with_unlike_settings_are_refused_by_all(tmp_path):
    """The processes find each other as under SLURM."""
    pair = start(tmp_path / "run", [], ["--set", "seed=7"], place=by_slurm)
    for ended in ends(tmp_path / "run", pair, 120):
        assert ended.code == 2
        assert "Process 1 was started with other settings" in ended.text
        assert "seed: 0 -> 7" in ended.text
    assert not (tmp_path / "run").exists()


def test_what_one_process_knows_the_other_is_told(tmp_path):
    pair = start(tmp_path / "none", program=EXCHANGES)
    for ended in ends(tmp_path / "none", pair, 120):
        assert ended.code == 0, ended.text
        assert json.loads(ended.text.splitlines()[-1]) == {
            "exchange": [{"text": "x"}, {"text": "xxx"}],
            "anywhere": [True, False],
            "from_first": ["000000800000803f000080ff", 0],  # -0.0, 1.0, -inf
            "least": [6, None],
            "together": "Process 1: no such file",
        }


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"JAX_PROCESS_ID": "0"}, "but not JAX_COORDINATOR_ADDRESS and JAX_NUM_PRO"),
        ({"JAX_PROCESS_ID": "2"}, "below the second"),
        ({"JAX_NUM_PROCESSES": "two"}, "whole numbers"),
        ({"JAX_COORDINATOR_ADDRESS": "somewhere"}, "HOST:PORT"),
    ],
    ids=["incomplete", "beyond", "no_number", "no_port"],
)
def test_an_environment_that_names_no_processes_is_refused(given, hint, monkeypatch):
    whole = {
        "JAX_COORDINATOR_ADDRESS": "a:1",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "1",
    }
    incomplete = given == {"JAX_PROCESS_ID": "0"}
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in (given if incomplete else whole | given).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=hint):
        distributed.process_of_environment()
