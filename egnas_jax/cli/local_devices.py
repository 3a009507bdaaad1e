"""Divides the GPUs of a node among its processes, so that none is idle.

Under SLURM and Open MPI, JAX gives each process the one GPU whose index is the local
rank of the process, and leaves the others idle without a message. Here the processes of
a node share all of its GPUs evenly; one process has all of them.
"""

import os
import re
import subprocess
from collections.abc import Mapping

from egnas_jax.cli.launcher import (
    Tasks,
    process_of_environment,
    tasks_of_environment,
)

CHOICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
BY_HAND = "JAX_LOCAL_DEVICE_IDS"
ADVICE = (
    "Set the number of tasks on each node (srun --ntasks-per-node, mpirun --map-by "
    "ppr:N:node), or name the GPUs of each process, counted from 0, by "
    "JAX_LOCAL_DEVICE_IDS."
)


def devices_of_environment() -> dict[str, list[int]]:
    """Chooses the GPUs of this process, for `jax.distributed`.

    Returns an empty dict where no launcher started the process, or where
    JAX_LOCAL_DEVICE_IDS names them. An empty list means all devices.

    Raises:
      ValueError: GPUs cannot be shared evenly, or some would be idle.
    """
    tasks = tasks_of_environment()
    if by_hand := os.environ.get(BY_HAND):
        _check_numbers(by_hand)
        return {}
    if tasks is None:
        return {}
    if not _are_of_this_run(tasks):
        tasks = tasks._replace(local_index=0, local_count=1)
    visible, allocated = count_gpus(os.environ)
    return {"local_device_ids": share(tasks, visible, allocated)}


def _check_numbers(text: str) -> None:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ValueError(
            f"{BY_HAND} is {text!r}, but must hold the numbers of GPUs, counted from "
            f'0 and separated by commas, "0,1" for example.'
        )


def _are_of_this_run(tasks: Tasks) -> bool:
    """Whether the launcher's processes are those that JAX's variables name, if any."""
    place = process_of_environment()
    total = place.get("num_processes", tasks.total)
    return (total, place.get("process_id", tasks.index)) == (tasks.total, tasks.index)


def share(tasks: Tasks, visible: int, allocated: int | None) -> list[int]:
    """The indices of a process's GPUs among those that it sees.

    Args:
      tasks: the processes of this node.
      visible: number of GPUs that this process sees.
      allocated: number of GPUs that the processes of this node have together; None
        where that is not known.

    Raises:
      ValueError: GPUs cannot be shared evenly, or some would be idle.
    """
    count = tasks.local_count
    if visible == 0 or (visible == 1 and allocated is None):
        return list(range(visible))  # each process sees its own, if there is any
    if count is None:
        raise ValueError(
            f"{tasks.launcher} does not say how many processes share the {visible} "
            f"GPUs of this node. {ADVICE}"
        )
    if visible < (allocated or 0):  # they were bound to processes, or hidden
        if visible * count == allocated:
            return list(range(visible))
        raise ValueError(
            f"{allocated} GPUs of this node were allocated, and its {count} processes "
            f"see {visible} each, so some would be idle or used twice. {ADVICE}"
        )
    if visible % count:
        raise ValueError(
            f"{count} processes on this node cannot share {visible} GPUs evenly, so "
            f"some would be idle or used twice. {ADVICE}"
        )
    each = visible // count
    return [tasks.local_index * each + gpu for gpu in range(each)]


def count_gpus(environment: Mapping[str, str]) -> tuple[int, int | None]:
    """Counts GPUs without JAX, which must not look for any before the processes joined.

    Returns:
      How many GPUs this process sees, and how many all processes of this node have: as
      SLURM says, or else all that are installed. None where a variable hides some of
      them. (0, None) where JAX uses other devices, or none is found.
    """
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms and not set(platforms.split(",")) & {"cuda", "gpu", "rocm"}:
        return 0, None
    text = environment.get("SLURM_GPUS_ON_NODE", "")
    allocated = int(text) if text.isdecimal() else None
    chosen = [
        _count_chosen(environment[name]) for name in CHOICES if name in environment
    ]
    if chosen:
        return min(chosen), allocated
    installed = _count_installed()
    return installed, allocated or installed or None


def _count_chosen(text: str) -> int:
    """Number of GPUs in a list; CUDA ends it at the first entry that is no GPU."""
    count = 0
    for name in text.split(","):
        if name.strip() in ("", "-1", "NoDevFiles", "none", "void"):
            break
        count += 1
    return count


def _count_installed() -> int:
    command = ("nvidia-smi", "--list-gpus")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
