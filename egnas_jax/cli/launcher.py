"""Reads from the environment which process of a run this is.

Three sources, in order of precedence: the variables of JAX, those of Open MPI
and those of SLURM. `mpirun` within a SLURM job inherits SLURM's variables, which then
describe the daemon of Open MPI and not its processes.

Source: Open MPI 5 documents OMPI_COMM_WORLD_*; PRRTE, which starts its processes, names
a job TOOL-HOST-PID@NUMBER in PMIX_NAMESPACE, after the host where `mpirun` runs.
JAX 0.10 itself recognises SLURM and Open MPI 4 (OMPI_MCA_orte_hnp_uri).
"""

import os
import re
import socket
from collections.abc import Mapping
from typing import NamedTuple

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
ADDRESS, COUNT, NUMBER = VARIABLES
OPEN_MPI = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
# What JAX needs to recognise a step of SLURM.
SLURM = (
    "SLURM_JOB_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
)
NAMESPACE = re.compile(r"[^-]+-(?P<host>.+)-(?P<pid>\d+)@\d+")
FIRST_PORT, NUM_PORTS = 61440, 4096  # where JAX chooses ports too


class Tasks(NamedTuple):
    """The processes that a launcher started on this node.

    Attributes:
      launcher: its name.
      total: number of processes on all nodes.
      index: of this process among all.
      local_index: of this process on its node.
      local_count: number of processes on this node; None where that is not known.
    """

    launcher: str
    total: int
    index: int
    local_index: int
    local_count: int | None


def process_of_environment() -> dict[str, str | int]:
    """Reads from the environment which process this is, for `jax.distributed`.

    Returns an empty dict where JAX itself asks the launcher: SLURM or Open MPI 4.

    Raises:
      ValueError: a variable is missing or malformed.
    """
    environment = os.environ
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    address = given.get(ADDRESS)
    if address is not None:
        _check_address(address)
    if set(given) <= {ADDRESS}:
        by_mpi = _process_of_open_mpi(environment, address)
        if by_mpi or not given:
            return by_mpi
        if has_slurm(environment):
            return {"coordinator_address": address}
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise ValueError(
            f"{' and '.join(given)} is set, but not "
            f"{' and '.join(missing)}. Set all three, or none under SLURM "
            f"or Open MPI."
        )
    return {
        "coordinator_address": address,
        **_place(given[NUMBER], given[COUNT], (NUMBER, COUNT)),
    }


def tasks_of_environment() -> Tasks | None:
    """Reads how many processes a launcher started on this node; None: no launcher.

    Raises:
      ValueError: a variable is malformed.
    """
    environment = os.environ
    if all(environment.get(name) for name in OPEN_MPI):
        place = _place_of_open_mpi(environment)
        return Tasks(
            launcher="Open MPI",
            total=place["num_processes"],
            index=place["process_id"],
            local_index=_number(environment, "OMPI_COMM_WORLD_LOCAL_RANK") or 0,
            local_count=_number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE"),
        )
    if has_slurm(environment):
        return Tasks(
            launcher="SLURM",
            total=_number(environment, "SLURM_NTASKS"),
            index=_number(environment, "SLURM_PROCID"),
            local_index=_number(environment, "SLURM_LOCALID"),
            local_count=_tasks_of_node(environment),
        )
    return None


def has_slurm(environment: Mapping[str, str]) -> bool:
    """Returns whether the process belongs to a step that `srun` started."""
    return all(environment.get(name) for name in SLURM)


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"JAX_COORDINATOR_ADDRESS is {address!r}; it must be "
            f"HOST:PORT, where process 0 can be reached."
        )


def _place(number: str, count: str, names: tuple[str, str]) -> dict[str, int]:
    """Arguments of `jax.distributed`: which process this is, of how many."""
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ValueError(
            f"{names[0]} is {number!r} and {names[1]} "
            f"{count!r}; they must be whole numbers, the first from 0 on "
            f"and below the second."
        )
    return {"num_processes": int(count), "process_id": int(number)}


def _place_of_open_mpi(environment: Mapping[str, str]) -> dict[str, int]:
    count, number = (environment[name] for name in OPEN_MPI)
    return _place(number, count, OPEN_MPI[::-1])


def _process_of_open_mpi(environment: Mapping[str, str], address: str | None) -> dict:
    """Which process this is by Open MPI; {} where it did not start it."""
    if not all(environment.get(name) for name in OPEN_MPI):
        if "PMIX_RANK" in environment and not has_slurm(environment):
            raise ValueError(
                f"PMIX_RANK is set, but not {' and '.join(OPEN_MPI)}: the launcher "
                f"does not say how many processes there are. Start them by mpirun of "
                f"Open MPI or by srun, or set {', '.join(VARIABLES)}."
            )
        return {}
    place = _place_of_open_mpi(environment)
    if address is None and "OMPI_MCA_orte_hnp_uri" in environment:
        return {}  # version 4, whose daemon's address JAX reads
    return {"coordinator_address": address or _first_host(environment, place), **place}


def _first_host(environment: Mapping[str, str], place: Mapping[str, int]) -> str:
    """HOST:PORT of process 0, the same in all processes of Open MPI 5."""
    job = NAMESPACE.fullmatch(environment.get("PMIX_NAMESPACE", ""))
    port = environment.get("JAX_COORDINATOR_PORT")
    if port is None:
        port = FIRST_PORT + (int(job["pid"]) % NUM_PORTS if job else 0)
    if environment.get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(place["num_processes"]):
        return f"127.0.0.1:{port}"
    here = socket.gethostname()
    if job is None or (place["process_id"] == 0 and not _same_host(job["host"], here)):
        where = f"runs on {here}" if place["process_id"] == 0 else "is elsewhere"
        raise ValueError(
            f"Open MPI does not say where process 0 is: PMIX_NAMESPACE is "
            f"{environment.get('PMIX_NAMESPACE')!r}, and process 0 {where}. Start "
            f"mpirun where process 0 runs, or name it by mpirun -x "
            f"JAX_COORDINATOR_ADDRESS=HOST:PORT."
        )
    return f"{job['host']}:{port}"


def _same_host(name: str, other: str) -> bool:
    is_address = re.fullmatch(r"[\d.]+|.*:.*", name)  # which cannot be compared
    return bool(is_address) or name.split(".")[0] == other.split(".")[0]


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """A whole number of the environment, or None where it is not set."""
    text = environment.get(name)
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError(
            f"{name} is {text!r}, but must be a whole number from 0 on. The launcher "
            f"sets it: leave it as it is, or set {', '.join(VARIABLES)}."
        )
    return int(text)


def _tasks_of_node(environment: Mapping[str, str]) -> int | None:
    """Number of SLURM's tasks on this node; None where it is not known."""
    total = _number(environment, "SLURM_NTASKS")
    nodes = environment["SLURM_STEP_NODELIST"]
    if total == 1 or not set(nodes) & set(",["):
        return total
    for name in ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"):
        counts = _counts(environment.get(name, ""))
        node = _number(environment, "SLURM_NODEID") if len(set(counts)) > 1 else 0
        if sum(counts) == total and node is not None and node < len(counts):
            return counts[node]
    for name in ("SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES"):
        count = _number(environment, name)
        if count and total % count == 0:
            return total // count
    return None


def _counts(text: str) -> list[int]:
    """Numbers of SLURM, "2(x3),1" for example: [2, 2, 2, 1]; [] for other texts."""
    counts = []
    for part in text.split(","):
        one = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if one is None:
            return []
        counts += [int(one[1])] * int(one[2] or 1)
    return counts
