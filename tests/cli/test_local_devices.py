"""The GPUs of a node are divided among its processes, and none is idle."""

import os

import jax
import pytest

from egnas_jax.cli import distributed, local_devices
from egnas_jax.cli.launcher import Tasks
from egnas_jax.cli.local_devices import count_gpus, devices_of_environment, share

SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_GPUS_ON_NODE": "4",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3",
}
BY_JAX = {
    "JAX_COORDINATOR_ADDRESS": "127.0.0.1:1",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "PMIX_NAMESPACE": "prterun-node-4096@1",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3",
}


def tasks(local_index, local_count):
    return Tasks("SLURM", 8, 0, local_index, local_count)


@pytest.fixture
def environment(monkeypatch):
    """Sets variables where no launcher set others, on a machine without GPUs."""
    prefixes = ("JAX_", "OMPI_", "PMIX_", "SLURM_", "CUDA_", "ROCR_", "HIP_")
    for name in os.environ:
        if name.startswith(prefixes):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "")

    def set_variables(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.fixture
def initialized(monkeypatch):
    """Arguments of `jax.distributed.initialize`, which joins no processes."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **kw: calls.append(kw))
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: None)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    return calls


@pytest.mark.parametrize(
    ("place", "visible", "allocated", "expected"),
    [
        (tasks(0, 1), 4, 4, [0, 1, 2, 3]),
        (tasks(0, 1), 4, None, [0, 1, 2, 3]),
        (tasks(0, 2), 4, 4, [0, 1]),
        (tasks(1, 2), 4, 4, [2, 3]),
        (tasks(3, 4), 4, 4, [3]),
        (tasks(3, 4), 1, 4, [0]),  # --gpus-per-task
        (tasks(1, 2), 2, 4, [0, 1]),
        (tasks(3, 4), 1, None, [0]),  # each process has its CUDA_VISIBLE_DEVICES
        (tasks(1, 2), 0, None, []),
        (tasks(1, None), 1, None, [0]),
    ],
)
def test_processes_share_all_gpus_of_their_node(place, visible, allocated, expected):
    assert share(place, visible, allocated) == expected


@pytest.mark.parametrize(
    ("place", "visible", "allocated", "hint"),
    [
        (tasks(0, 3), 4, 4, "3 processes on this node cannot share 4 GPUs evenly"),
        (tasks(0, 2), 1, 1, "2 processes on this node cannot share 1 GPUs"),
        (tasks(0, 1), 1, 4, "4 GPUs of this node were allocated"),
        (tasks(0, 2), 1, 4, "its 2 processes see 1 each"),
        (tasks(0, 2), 3, 4, "see 3 each"),
        (tasks(0, None), 4, 4, "does not say how many processes share the 4"),
    ],
)
def test_idle_gpus_are_refused(place, visible, allocated, hint):
    with pytest.raises(ValueError, match=f"{hint}.*--ntasks-per-node"):
        share(place, visible, allocated)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, None)),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, (2, None)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2", "SLURM_GPUS_ON_NODE": "4"}, (2, 4)),
        ({"CUDA_VISIBLE_DEVICES": ""}, (0, None)),
        ({"CUDA_VISIBLE_DEVICES": "2,-1,3"}, (1, None)),  # CUDA stops at the -1
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, (0, None)),
        ({"ROCR_VISIBLE_DEVICES": "0,1,2", "HIP_VISIBLE_DEVICES": "0"}, (1, None)),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "JAX_PLATFORMS": "cpu"}, (0, None)),
        ({"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cuda,cpu"}, (1, None)),
    ],
)
def test_gpus_are_counted_by_variables(variables, expected):
    assert count_gpus({"PATH": ""} | variables) == expected


def test_gpus_are_counted_by_nvidia_smi(tmp_path, monkeypatch):
    text = "GPU 0: NVIDIA A (UUID: GPU-1)\n  MIG 1g: x\nGPU 1: NVIDIA A (UUID: GPU-2)"
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{text}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert count_gpus({}) == (2, 2)
    assert count_gpus({"SLURM_GPUS_ON_NODE": "4"}) == (2, 4)


@pytest.mark.parametrize("more", [{}, BY_JAX], ids=["slurm", "all three variables"])
def test_one_task_of_slurm_uses_all_gpus_of_its_node(more, environment, initialized):
    environment(SLURM | more)
    with distributed.joined(True):
        pass
    assert initialized[0]["local_device_ids"] == [0, 1, 2, 3]


def test_open_mpi_5_joins_by_its_own_variables(environment, initialized):
    environment(OPEN_MPI)
    with distributed.joined(True):
        pass
    place = {"coordinator_address": "127.0.0.1:61440", "local_device_ids": [2, 3]}
    place |= {"num_processes": 2, "process_id": 1}
    assert place.items() <= initialized[0].items()


def test_idle_gpus_end_a_run_before_processes_join(environment, initialized):
    environment(SLURM | {"CUDA_VISIBLE_DEVICES": "0"})
    with (
        pytest.raises(ValueError, match="allocated.*see 1 each"),
        distributed.joined(True),
    ):
        pass
    assert not initialized


def test_processes_started_by_hand_within_a_step_keep_what_they_see(environment):
    """The step has one task, which starts two processes of the run."""
    environment(SLURM | BY_JAX | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"})
    assert devices_of_environment() == {"local_device_ids": [0, 1, 2, 3]}


def test_devices_named_by_hand_are_left_to_jax(environment):
    assert devices_of_environment() == {}  # no launcher
    environment(SLURM | {"JAX_LOCAL_DEVICE_IDS": "1,2"})
    assert devices_of_environment() == {}
    environment({"JAX_LOCAL_DEVICE_IDS": "1,b"})
    with pytest.raises(ValueError, match="must hold the numbers of GPUs"):
        devices_of_environment()
    assert local_devices.BY_HAND == "JAX_LOCAL_DEVICE_IDS"
