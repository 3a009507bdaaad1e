"""Examines what a search needs from a machine, one function for each question.

Nothing is downloaded. Only the compiled programs of the tiny search are written.
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy")
# module of an extra -> its name
EXTRAS = {
    "tensorflow_datasets": "tfds",
    "tensorboardX": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "safetensors": "export",
}
# The oldest driver of NVIDIA under which each plugin runs, by NVIDIA's table of minor
# version compatibility of CUDA 12 and 13.
OLDEST_DRIVER = {"jax-cuda12-plugin": 525, "jax-cuda13-plugin": 580}
SPACE = "egnas_doctor"  # of the tiny search
TINY = {
    "epochs": 1,
    "batch_size": 32,
    "supernet.channels": 4,
    "supernet.layers": 2,
    "strategy.candidates": 2,
    "strategy.fitness_batch_size": 16,
}
MIB = 2**20


class Finding(NamedTuple):
    """The answer to one question.

    Attributes:
      name: what was examined.
      state: "ok"; "note": worth knowing; "bad": something does not work.
      text: what was found.
      advice: what to do, or "".
    """

    name: str
    state: Literal["ok", "note", "bad"]
    text: str
    advice: str = ""


def versions() -> Finding:
    """Versions of Python, this package and its libraries; extras that are missing."""
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    numbers = ", ".join(f"{name} {version}" for name, version in installed.items())
    missing = [
        extra
        for module, extra in EXTRAS.items()
        if importlib.util.find_spec(module) is None
    ]
    text = f"Python {platform.python_version()}, egnas-jax {_own_version()}, {numbers}"
    if not missing:
        return Finding("versions", "ok", text)
    extras = ",".join(missing)
    advice = f'Optional parts are missing; pip install "egnas-jax[{extras}]" adds them.'
    return Finding("versions", "note", text, advice)


def _own_version() -> str:
    import egnas_jax as eg

    return eg.__version__


def devices() -> Finding:
    """What JAX sees, and whether an NVIDIA GPU is left out."""
    import jax

    try:
        seen = jax.devices()
    except RuntimeError as error:
        advice = "JAX finds no device. JAX_PLATFORMS=cpu uses the CPU."
        return Finding("devices", "bad", str(error).partition("\n")[0], advice)
    kinds = sorted({device.device_kind for device in seen})
    text = f"{len(seen)} of {jax.default_backend()}: {', '.join(kinds)}"
    gpus = nvidia_gpus()
    if gpus and jax.default_backend() == "cpu":
        text += f"; {len(gpus)} NVIDIA GPU(s) that JAX does not use: {gpus[0].name}"
        return Finding("devices", "bad", text, _why_unused(gpus[0].driver))
    return Finding("devices", "ok", text)


class GPU(NamedTuple):
    """A GPU as its driver names it.

    Attributes:
      name: of the card.
      driver: version of the driver.
    """

    name: str
    driver: str


def nvidia_gpus() -> list[GPU]:
    """The GPUs that NVIDIA's driver lists; none where there is no driver."""
    query = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    if shutil.which(query[0]) is None:
        return []
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line.rpartition(", ") for line in done.stdout.splitlines()]
    return [GPU(name, driver) for name, comma, driver in lines if comma]


def _why_unused(driver: str) -> str:
    if os.environ.get("JAX_PLATFORMS"):
        return f"JAX_PLATFORMS is {os.environ['JAX_PLATFORMS']!r}. Unset it."
    if not _plugins():
        extra = (
            "cuda13"
            if _major(driver) >= OLDEST_DRIVER["jax-cuda13-plugin"]
            else ("cuda12")
        )
        return f'pip install "egnas-jax[{extra}]"'
    return "JAX's plugin for CUDA is installed, but did not start; see `plugin`."


def _plugins() -> dict[str, str]:
    """Installed plugins for CUDA and their versions."""
    installed = {}
    for name in OLDEST_DRIVER:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _major(version: str) -> int:
    number = re.match(r"\d+", version)
    return int(number[0]) if number else 0


def plugin() -> Finding:
    """Whether JAX's plugin for CUDA fits jaxlib and NVIDIA's driver."""
    plugins, gpus = _plugins(), nvidia_gpus()
    if not plugins:
        text = "no plugin for CUDA is installed"
        return Finding("plugin", "ok" if not gpus else "note", text)
    text = ", ".join(f"{name} {version}" for name, version in plugins.items())
    jaxlib = importlib.metadata.version("jaxlib")
    for name, version in plugins.items():
        if version != jaxlib:
            advice = (
                f'It must have the version of jaxlib: pip install "{name}=={jaxlib}"'
            )
            return Finding("plugin", "bad", f"{text}; jaxlib {jaxlib}", advice)
    if not gpus:
        return Finding("plugin", "note", f"{text}; no driver of NVIDIA answers")
    driver = gpus[0].driver
    text += f"; driver {driver}"
    if all(_major(driver) < OLDEST_DRIVER[name] for name in plugins):
        oldest = min(OLDEST_DRIVER[name] for name in plugins)
        advice = f"The plugin needs driver {oldest} or a newer one."
        return Finding("plugin", "bad", text, advice)
    return Finding("plugin", "ok", text)


def memory() -> Finding:
    """Free memory of the machine and of the first device."""
    from egnas_jax.training.out_of_memory import free_bytes

    parts = []
    machine = _available_bytes()
    if machine is not None:
        parts.append(f"{machine / MIB / 1024:.1f} GiB of the machine are free")
    device = free_bytes()
    if device is not None:
        parts.append(f"{device / MIB / 1024:.1f} GiB of the device")
    text = ", ".join(parts) or "unknown"
    if machine is not None and machine < 2048 * MIB:
        advice = "Compiling the default search on CIFAR-10 takes about 3 GiB."
        return Finding("memory", "note", text, advice)
    return Finding("memory", "ok", text)


def _available_bytes() -> int | None:
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # another system than Linux
        return None
    table = dict(line.split(":", 1) for line in lines if ":" in line)
    words = table.get("MemAvailable", "").split()
    return int(words[0]) * 1024 if words else None


def processors() -> Finding:
    """The CPU, and how many of its cores this process may use."""
    from egnas_jax.training.processors import processor_model, usable_cores

    text = f"{processor_model()}, {usable_cores()} cores for this process"
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "")
    return Finding("processors", "ok", f"{text}{threads and f', OpenBLAS {threads}'}")


def compile_cache() -> Finding:
    """Where compiled programs are kept, how many bytes, and whether that works."""
    import jax

    from egnas_jax.cli.console import use_compilation_cache

    use_compilation_cache()
    folder = jax.config.jax_compilation_cache_dir
    if not folder:
        advice = "Every search compiles anew. Set JAX_COMPILATION_CACHE_DIR."
        return Finding("compile cache", "note", "there is none", advice)
    path = pathlib.Path(folder)
    files = [each for each in path.rglob("*") if each.is_file()]
    used = sum(each.stat().st_size for each in files) / MIB
    limit = jax.config.jax_compilation_cache_max_size
    most = f"at most {limit / MIB:.0f} MiB" if limit > 0 else "no limit"
    text = f"{path}: {used:.0f} MiB in {len(files)} file(s), {most}"
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not os.access(nearest, os.W_OK):
        advice = (
            "It cannot be written. Set JAX_COMPILATION_CACHE_DIR to a folder of yours."
        )
        return Finding("compile cache", "bad", text, advice)
    return Finding("compile cache", "ok", text)


def data() -> Finding:
    """Which named data sets are found without a download."""
    from egnas_jax.data.files.download import ARCHIVES, cache_folder
    from egnas_jax.data.files.prepared import (
        IMAGENET,
        default_tfds_dir,
        find_prepared,
    )

    directory, cache = default_tfds_dir(), cache_folder()
    found, missing = ["digits (shipped with scikit-learn)"], []
    for name in (*ARCHIVES, IMAGENET):
        archive = ARCHIVES.get(name)
        if folder := find_prepared(directory, name):
            found.append(f"{name} ({folder})")
        elif archive is not None and (cache / archive.file_name).is_file():
            found.append(f"{name} ({cache / archive.file_name})")
        else:
            missing.append(name)
    text = f"found {', '.join(found)}"
    if not missing:
        return Finding("data", "ok", text)
    text += f"; not in {directory} or {cache}: {', '.join(missing)}"
    advice = (
        "--data-dir names a folder with the official files; CIFAR is downloaded else."
    )
    return Finding("data", "note", text, advice)


def launcher() -> Finding:
    """What SLURM, Open MPI or JAX's variables say of the processes of a run."""
    from egnas_jax.cli.launcher import process_of_environment, tasks_of_environment
    from egnas_jax.cli.local_devices import count_gpus, devices_of_environment

    try:
        tasks, place = tasks_of_environment(), process_of_environment()
        if tasks is None and not place:
            return Finding("launcher", "ok", "none: a search is one process")
        chosen = devices_of_environment().get("local_device_ids")
    except ValueError as error:
        advice = "`egnas search --distributed` would end with this message."
        return Finding("launcher", "bad", str(error), advice)
    if tasks is None:
        text = f"JAX's variables: process {place['process_id']} of "
        return Finding("launcher", "ok", f"{text}{place['num_processes']}")
    text = f"{tasks.launcher}: process {tasks.index} of {tasks.total}, on this node "
    text += f"{tasks.local_index} of {tasks.local_count}"
    visible, _ = count_gpus(os.environ)
    if visible:
        numbers = "all that it sees" if not chosen else ", ".join(map(str, chosen))
        text += f"; with --distributed it gets GPUs {numbers} of {visible}"
    return Finding("launcher", "ok", text)


def tiny_search() -> Finding:
    """Whether a search of one epoch runs, on 200 random images."""
    import egnas_jax as eg

    started = time.perf_counter()
    primitives = ("avg_pool_3x3", "skip_connect")
    eg.SPACES[SPACE] = eg.Space(SPACE, primitives=primitives, num_nodes=1)
    try:
        digest = _digest_of_tiny_search()
    except Exception as error:  # whatever it is, it is the answer
        text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return Finding("tiny search", "bad", text, "egnas search --debug shows where.")
    finally:
        del eg.SPACES[SPACE]
    seconds = time.perf_counter() - started
    return Finding("tiny search", "ok", f"{seconds:.0f} s, digest {digest[:12]}")


def _digest_of_tiny_search() -> str:
    import numpy as np

    import egnas_jax as eg

    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), np.uint8)
    config = eg.search_config(strategy="random_search", space=SPACE, settings=TINY)
    with tempfile.TemporaryDirectory() as folder:
        result = eg.run_search(
            config,
            out=pathlib.Path(folder) / "run",
            data=(images, np.arange(200) % 4),
            log=lambda text: None,
        )
    return result.records[-1]["digest"]


CHECKS: tuple[Callable[[], Finding], ...] = (
    versions,
    devices,
    plugin,
    processors,
    memory,
    compile_cache,
    data,
    launcher,
    tiny_search,
)


def examine(checks: tuple[Callable[[], Finding], ...] = CHECKS) -> list[Finding]:
    """Asks every question; one that cannot be answered is a finding, too."""
    findings = []
    for check in checks:
        try:
            findings.append(check())
        except Exception as error:
            name = check.__name__.replace("_", " ")
            text = f"cannot be examined: {type(error).__name__}: {error}"
            findings.append(Finding(name, "bad", text))
    return findings
