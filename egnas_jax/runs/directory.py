"""Claims the directory of a run for one process, and writes its first files.

config.json holds the configuration, restored.json the run that it started from,
environment.json what its metrics may depend on.
"""

import contextlib
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from egnas_jax.nn import lowering
from egnas_jax.runs.search_config import from_dict
from egnas_jax.settings import as_dict, differences
from egnas_jax.storage import records
from egnas_jax.storage.lock import locked


def check_arguments(
    folder: pathlib.Path | None, *, resume: bool, stop_after: int | None
) -> None:
    """Refuses arguments of a run that do not fit together, before anything is loaded.

    Args:
      folder: run directory; None writes nothing.
      resume: whether the run may exist already.
      stop_after: epochs after which the run ends early, or None.

    Raises:
      ValueError: `stop_after` is below 1, there is no directory to resume, or the
        directory cannot hold the run (see `check_free`).
    """
    if stop_after is not None and stop_after < 1:
        raise ValueError(f"stop_after is {stop_after}, but must be at least 1 epoch.")
    if folder is not None:
        check_free(folder, resume=resume)
    elif resume:
        raise ValueError("resume needs a run directory. Name it by out.")


def check_free(folder: pathlib.Path, *, resume: bool) -> None:
    """Refuses a directory that holds a run which is not resumed, or other files.

    Hidden files are accepted: a run that was killed before its configuration was
    written may leave its lock.

    Raises:
      ValueError: the directory cannot hold the run.
    """
    if (folder / "config.json").exists():
        if not resume:
            raise ValueError(
                f"{folder} holds a run already. Add --resume to go on with it, or "
                f"name another --out."
            )
    elif folder.is_dir() and any(
        not path.name.startswith(".") for path in folder.iterdir()
    ):
        raise ValueError(f"{folder} is not empty and holds no run. Name another --out.")


def check_configuration(
    config: Any, folder: pathlib.Path, read: Callable[[dict], Any] = from_dict
) -> None:
    """Refuses to go on with a run of another configuration.

    Args:
      config: of the run that is to go on.
      folder: run directory.
      read: makes a configuration of what config.json holds.

    Raises:
      ValueError: the configurations differ, with the differences; or the stored one
        cannot be read.
    """
    if not (folder / "config.json").exists():
        return
    changed = differences(stored_config(folder, read), config)
    if changed:
        raise ValueError(
            f"{folder} holds a run of another configuration: {'; '.join(changed)}. Use "
            f"its settings or another --out."
        )


@contextlib.contextmanager
def claim(
    config: Any,
    folder: pathlib.Path,
    origin: dict | None = None,
    mesh: dict | None = None,
    *,
    trains: bool = True,
    log: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Makes the directory of a run, and keeps other processes from writing to it.

    Args:
      config: becomes config.json.
      folder: run directory.
      origin: becomes restored.json: what is known of the run that it started from.
      mesh: what environment.json says of the devices (`training.devices.describe`).
      trains: whether an epoch is left to run; environment.json describes the process
        that ran the last one.
      log: called with notes about the lock; None: the logger "egnas_jax" gets them.

    Raises:
      ValueError: it cannot be written, or another process is writing to it.
    """
    log = log or logging.getLogger("egnas_jax").warning
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, log))
        except OSError as error:
            raise _unwritable(folder, error) from None
        _write_beginning(config, folder, origin, mesh, trains)
        yield


def _write_beginning(config, folder, origin, mesh, trains):
    try:
        records.write_json(folder / "config.json", as_dict(config))
        if origin:
            records.write_json(folder / "restored.json", origin)
        if trains or not (folder / "environment.json").exists():
            records.write_json(folder / "environment.json", environment(mesh))
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: pathlib.Path, error: OSError) -> ValueError:
    return ValueError(
        f"{folder} cannot be written ({error.strerror or error}). Name another --out."
    )


def stored_config(folder: pathlib.Path, read: Callable[[dict], Any] = from_dict) -> Any:
    """Reads the configuration of a run directory.

    Args:
      folder: run directory.
      read: makes a configuration of what config.json holds; by default of a search.

    Raises:
      ValueError: it holds no such run.
    """
    try:
        return read(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{str(folder)!r} holds no run ({type(error).__name__}: no readable "
            f"config.json of that kind). Name a directory that `egnas search` or "
            f"`egnas retrain` wrote, as the command asks."
        ) from None


def environment(mesh: dict | None) -> dict:
    """Returns what a metric may depend on: versions, device, flags."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    device = jax.devices()[0]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "backend": jax.default_backend(),
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "mesh": mesh,
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
        "flags": {
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
            # chooses the BLAS kernels that compute CMA-ES's eigenvectors on a CPU
            "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", ""),
            "compiler_options": lowering.compiler_options(),
        },
        "git": _git(),
    }


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
