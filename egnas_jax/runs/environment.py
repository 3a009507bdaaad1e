"""Describes what the metrics of a run may depend on, for environment.json."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from egnas_jax.nn import lowering
from egnas_jax.settings import flat
from egnas_jax.storage import records
from egnas_jax.training.jax_settings import current_settings
from egnas_jax.training.processors import processor_model, usable_cores

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
# The kernels and the threads of BLAS compute CMA-ES's eigenvectors on a CPU, and
# NVIDIA_TF32_OVERRIDE chooses the precision of products on a GPU.
VARIABLES = (
    "XLA_FLAGS",
    "LIBTPU_INIT_ARGS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
)
# parts of environment.json under which a digest holds
_COMPARED = (
    *("versions", "backend", "device_kind", "processor", "jax", "flags"),
    "batch",
)
# of a run that is computed alone
ALONE = {"batched": False, "members": 1}


def environment(mesh: dict | None, batch: dict | None = None) -> dict[str, Any]:
    """The content of environment.json: versions, device, settings and flags.

    Args:
      mesh: what is known of the devices in use (`training.devices.describe`).
      batch: what `BatchShape.place` says of the batch that computes the run; None: it
        is computed alone.
    """
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        **_compared(),
        "device_count": jax.device_count(),
        "mesh": mesh,
        "git": _git(),
        "batch": batch or ALONE,
    }


class Place(NamedTuple):
    """Where a run is computed.

    Attributes:
      members: number of members of its device's program; 1 for a run alone.
      position: its position among them, from 0.
      batched: whether that is the program of a batch.
    """

    members: int = 1
    position: int = 0
    batched: bool = False


def place_of(folder: pathlib.Path) -> Place:
    """Reads where a run was computed.

    Args:
      folder: run directory; one without environment.json was computed alone.
    """
    path = folder / "environment.json"
    if not path.exists():
        return Place()
    stored = records.read_object(path, "The file was altered.").get("batch", {})
    members = stored.get("members", 1)
    # earlier versions recorded no batches of one run on a device, and not `batched`
    batched = stored.get("batched", members > 1)
    return Place(members, stored.get("position", 0), batched)


def width_of(folder: pathlib.Path) -> int | None:
    """Reads how many runs a device computed together with a run; None: it was alone.

    Args:
      folder: run directory.
    """
    place = place_of(folder)
    return place.members if place.batched else None


def _compared() -> dict[str, Any]:
    variables = {name: os.environ.get(name, "") for name in VARIABLES}
    return {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "backend": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "processor": {"model": processor_model(), "cores": usable_cores()},
        "jax": current_settings(),
        "flags": {**variables, "compiler_options": lowering.compiler_options()},
    }


def warn_of_changes(
    folder: pathlib.Path, log: Callable[[str], Any], width: int | None = None
) -> None:
    """Says which settings of this process differ from those that computed the run.

    Args:
      folder: run directory; without a readable environment.json nothing is said.
      log: called with a sentence, if anything differs.
      width: runs that a device of this process computes together; None: it computes
        the run alone.
    """
    try:
        stored = records.read_object(folder / "environment.json")
    except ValueError:
        return
    batch = ALONE if width is None else {"batched": True, "members": width}
    now = records.plain(_compared() | {"batch": batch})
    if changed := changed_settings(stored, now):
        log(
            f"{folder} was computed under other settings than those of this process: "
            f"{'; '.join(changed)}. Its digests may not come out again. Set what "
            f"environment.json says to go on bit for bit."
        )


def changed_settings(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences of two environments, one line each; what one lacks is left out.

    Args:
      stored: content of environment.json, maybe of an earlier version.
      now: the environment of this process.
    """
    before, after = (
        dict(flat({name: part[name] for name in _COMPARED if name in part}))
        for part in (stored, now)
    )
    return [
        f"{path.removeprefix('jax.').removeprefix('flags.')}: {before[path]!r} -> "
        f"{after[path]!r}"
        for path in sorted(before.keys() & after.keys())
        if before[path] != after[path]
    ]


def _git() -> str | None:
    """Commit of this source, with "+" where files differ from it; None without git."""
    source = pathlib.Path(__file__).parent
    command = (
        "git",
        "-C",
        str(source),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty=+",
        "--exclude=*",
    )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
