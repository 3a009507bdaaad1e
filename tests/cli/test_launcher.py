"""Which process of a run this is, by the variables of JAX, Open MPI and SLURM."""

import os
import socket

import pytest

from egnas_jax.cli import launcher
from egnas_jax.cli.launcher import Tasks, process_of_environment, tasks_of_environment

COMPLETE = {
    "JAX_COORDINATOR_ADDRESS": "a:1",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}
# Process 3 of 4 on two nodes, as mpirun of Open MPI 5 starts it.
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "PMIX_RANK": "3",
    "PMIX_NAMESPACE": "prterun-gpu-node-7-20481@1",
}
ON_ONE_NODE = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


@pytest.fixture
def environment(monkeypatch):
    """Sets variables where no launcher set others."""
    for name in os.environ:
        if name.startswith(("JAX_", "OMPI_", "PMIX_", "SLURM_")):
            monkeypatch.delenv(name)

    def set_variables(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize(
    ("variables", "hint"),
    [
        ({"JAX_PROCESS_ID": "0"}, "but not JAX_COORDINATOR_ADDRESS and JAX_NUM_PRO"),
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "but not JAX_NUM_PROCESSES and JAX_PRO"),
        (COMPLETE | {"JAX_PROCESS_ID": "2"}, "below the second"),
        (COMPLETE | {"JAX_NUM_PROCESSES": "two"}, "whole numbers"),
        (COMPLETE | {"JAX_COORDINATOR_ADDRESS": "somewhere"}, "HOST:PORT"),
        (OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "4"}, "OMPI_COMM_WORLD_RANK is '4'"),
        (OPEN_MPI | {"PMIX_NAMESPACE": "7"}, "mpirun -x JAX_COORDINATOR_ADDRESS"),
        ({"PMIX_RANK": "0"}, "does not say how many processes"),
    ],
)
def test_an_environment_that_names_no_processes_is_refused(
    variables, hint, environment
):
    environment(variables)
    with pytest.raises(ValueError, match=hint):
        process_of_environment()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        (SLURM, {}),
        (COMPLETE, ("a:1", 2, 1)),
        (OPEN_MPI | COMPLETE, ("a:1", 2, 1)),
        (OPEN_MPI, ("gpu-node-7:61441", 4, 3)),  # 20481 % 4096 is 1
        (OPEN_MPI | SLURM, ("gpu-node-7:61441", 4, 3)),
        (OPEN_MPI | {"JAX_COORDINATOR_PORT": "99"}, ("gpu-node-7:99", 4, 3)),
        (OPEN_MPI | {"JAX_COORDINATOR_ADDRESS": "b:2"}, ("b:2", 4, 3)),
        (OPEN_MPI | ON_ONE_NODE, ("127.0.0.1:61441", 2, 1)),
        (OPEN_MPI | {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:9"}, {}),
        (SLURM | {"JAX_COORDINATOR_ADDRESS": "b:2"}, {"coordinator_address": "b:2"}),
    ],
)
def test_the_place_of_a_process_is_read(variables, expected, environment):
    environment(variables)
    if isinstance(expected, tuple):
        names = ("coordinator_address", "num_processes", "process_id")
        expected = dict(zip(names, expected, strict=True))
    assert process_of_environment() == expected


def test_process_0_must_run_where_mpirun_does(environment, monkeypatch):
    environment(OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "0"})
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-node-7.cluster")
    assert process_of_environment()["process_id"] == 0
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-node-8")
    with pytest.raises(ValueError, match="process 0 runs on gpu-node-8"):
        process_of_environment()


@pytest.mark.parametrize(
    ("variables", "local_count"),
    [
        ({}, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "3,1"}, 1),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x3)"}, 2),  # of the job: by number of nodes
        ({"SLURM_STEP_TASKS_PER_NODE": ""}, 2),
        ({"SLURM_STEP_NODELIST": "node01"}, 4),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, 1),
        ({"SLURM_STEP_TASKS_PER_NODE": "", "SLURM_STEP_NUM_NODES": "3"}, None),
    ],
)
def test_slurm_says_how_many_tasks_share_a_node(variables, local_count, environment):
    environment(SLURM | {"SLURM_STEP_NUM_NODES": "2"} | variables)
    assert tasks_of_environment().local_count == local_count


def test_open_mpi_counts_before_slurm(environment):
    """Its processes inherit the variables of the step that runs its daemon."""
    assert tasks_of_environment() is None
    environment(SLURM)
    assert tasks_of_environment() == Tasks("SLURM", 4, 2, 0, 2)
    environment(OPEN_MPI)
    assert tasks_of_environment() == Tasks("Open MPI", 4, 3, 1, 2)


@pytest.mark.parametrize(
    ("text", "counts"),
    [("2(x3),1", [2, 2, 2, 1]), ("4", [4]), ("", []), ("2(x", []), ("1,", [])],
)
def test_counts_of_slurm_are_expanded(text, counts):
    assert launcher._counts(text) == counts
