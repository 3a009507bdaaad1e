"""Names the processor of this machine."""

import os
import pathlib
import platform


def processor_model() -> str:
    """Returns the model of the CPU, as far as the system tells."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return models[0].strip() if models else platform.processor() or platform.machine()


def usable_cores() -> int | None:
    """Returns how many cores this process may use; BLAS starts a thread on each."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
