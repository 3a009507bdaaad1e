"""One search from a configuration to a run directory."""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import filelock
import jax
import numpy as np

from egnas_jax import checkpoint, evolution, record, strategies, tensorboard
from egnas_jax.config import (
    SearchConfig,
    as_dict,
    compiled_in,
    differences,
    from_dict,
)
from egnas_jax.data.batches import check_batch_size
from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.source import load_dataset
from egnas_jax.data.split import make_splits
from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.nn import lowering, primitives
from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network import NetworkConfig
from egnas_jax.nn.primitives import PRIMITIVES
from egnas_jax.nn.supernet import check_image_shape, make_supernet
from egnas_jax.nn.topology_cost import topology_params
from egnas_jax.search import loop, processes
from egnas_jax.search.curvature import check_alpha
from egnas_jax.search.mesh import check_divisible, make_mesh, replicate
from egnas_jax.search.weights import Pixels, Programs, SearchState, make_programs
from egnas_jax.space import SPACES, Topology, derive, draw_svg, parse_genotype
from egnas_jax.strategies import STRATEGIES


def prepare(
    config: SearchConfig,
    data_dir: str | None,
    folder: pathlib.Path | None,
    report: Callable,
) -> tuple[SearchConfig, loop.Run]:
    """Data loaded and checked, programs made; nothing compiled, nothing written.

    Args:
      config: of the search.
      data_dir: where to look for the data, or None for the usual places.
      folder: run directory; None where another process writes it.
      report: called with each epoch's line, and with notes (`str`).

    Returns:
      The configuration with the data's number of classes and digest, its path made
      absolute and its devices counted, and the run.

    Raises:
      ValueError: the data do not fit the configuration or are not those that it names
        by their digest, or a package is missing that it asks for.
    """
    if config.tensorboard:
        tensorboard.check_installed()
    dataset = load_dataset(config.data, data_dir, config.seed)
    check_image_shape(dataset.images.shape[1:])
    config = _as_loaded(config, dataset)
    _, make = STRATEGIES[config.strategy_name]
    mesh = make_mesh(config.devices)
    check_divisible(config.batch_size, mesh)
    config = dataclasses.replace(config, devices=mesh.size if mesh else 1)
    net = make_supernet(config.supernet)._replace(mesh=mesh)
    strategy = make(net, config.strategy)
    splits = make_splits(dataset, strategy.regime.split, config.seed)
    check_batch_size(config.batch_size, len(splits.train.labels))
    check_batch_size(strategy.valid_batch_size, len(splits.valid.labels),
                     "strategy.fitness_batch_size or .batch_size")  # fmt: skip
    if config.watch.eigenvalue != "off":
        check_alpha(strategy)
        check_batch_size(config.watch.images, len(splits.valid.labels), "watch.images")
    warmup = getattr(config.strategy, "warmup", 0)
    if warmup >= config.epochs:
        report(
            f"strategy.warmup is {warmup} and epochs {config.epochs}: alpha will not "
            f"move."
        )
    train, valid = (
        Pixels(*replicate(mesh, part)) for part in (splits.train, splits.valid)
    )
    programs = make_programs(
        net,
        strategy,
        config.sgd,
        config.data,
        (dataset.mean, dataset.std),
        train,
        valid,
        config.seed,
        validation_chunk=config.validation_chunk,
        watch=config.watch,
    )
    return config, loop.Run(
        folder,
        programs,
        strategy,
        config.sgd,
        config.steps_per_call,
        config.keep_checkpoints,
        report,
        config.watch,
        None if mesh else _identity(config, strategy.numbers),
    )


def _identity(config, numbers) -> dict | None:
    """What the programs are made of, for `search.ahead`.

    None where code takes part that a script has put into a table. Where that code was
    written says nothing: a decorated function bears the name of what it wraps, and one
    entry of a table may stand in the place of another.
    """
    space = SPACES[config.supernet.space]
    evolutions = [getattr(config.strategy, "evolution", None)]
    parts = (
        (STRATEGIES, strategies.OWN, [config.strategy_name]),
        (PRIMITIVES, primitives.OWN, space.primitives),
        (EVOLUTIONS, evolution.OWN, filter(None, evolutions)),
    )
    for table, own, names in parts:
        if any(table[name] is not own.get(name) for name in names):
            return None
    return {"settings": compiled_in(config, numbers), "space": space}


def _as_loaded(config, dataset):
    """With the data's number of classes, their digest and an absolute path."""
    supernet = dataclasses.replace(config.supernet, num_classes=dataset.num_classes)
    return dataclasses.replace(
        config,
        supernet=supernet,
        data=data_as_loaded(config.data, dataset.name, digest_of(dataset)),
    )


def digest_of(dataset: Dataset) -> str:
    """Sha256 over images and labels that are not the test's."""
    return checkpoint.digest({"images": dataset.images, "labels": dataset.labels})


def data_as_loaded(data: DataConfig, name: str, digest: str) -> DataConfig:
    """With the data's digest and an absolute path.

    Args:
      data: what was asked for.
      name, digest: of what was found.

    Raises:
      ValueError: they are not the data that the configuration names by a digest.
    """
    if data.digest not in (None, digest):
        raise ValueError(
            f"The data {name} are not those that data.digest names: "
            f"{digest} was found, {data.digest} is wanted. Give the right data "
            f"by --data-dir, or leave data.digest unset in a new run."
        )
    data = dataclasses.replace(data, digest=digest)
    if data.path is not None:
        path = pathlib.Path(data.path).expanduser().resolve()
        data = dataclasses.replace(data, path=str(path))
    return data


class Start(NamedTuple):
    """Where a run begins or goes on.

    Attributes:
      progress: None where it begins with its first epoch.
      origin: restored.json, what is known of the run that it started from; or None.
      lines: that run's records of the epochs before, where the new run begins now.
    """

    progress: loop.Progress | None
    origin: dict | None = None
    lines: tuple[dict, ...] = ()


def find_start(run: loop.Run, source: str | None, *, resume: bool) -> Start:
    """The run's own newest checkpoint, or another run's, or the very beginning.

    A run's own checkpoints come first: a continuation that was interrupted goes on
    where it was, not where it was branched from. Without one it goes back to the run
    that it was branched from.

    Args:
      run: the run; nothing of it is changed.
      source: directory of the run to start from, or None.
      resume: whether the run may exist already.

    Raises:
      ValueError: `source` is not where the run started, or cannot be started from; the
        run's records do not go with its checkpoint.
    """
    recorded = _recorded_origin(run.folder) if resume else None
    own, notes = loop.newest(run) if resume else (None, ())
    began_at = recorded and recorded["run"]
    given = source and str(pathlib.Path(source).resolve())
    if given and given != began_at and (began_at or own):
        raise ValueError(
            f"{run.folder} started from {began_at or 'nothing'}, not from {source}. "
            f"Leave --restore out, or name another --out."
        )
    for note in notes:
        after = "Going on from the one before." if own else "Starting over."
        run.report(f"{note} {after}")
    if own:
        loop.records(run.folder, int(own.state.epoch))
        return Start(own, recorded)
    if given or began_at:
        return _from_other(run, pathlib.Path(given or began_at))
    if resume:
        run.report(f"{run.folder}: no whole checkpoint, so from the beginning.")
    return Start(None)


def _recorded_origin(folder: pathlib.Path) -> dict | None:
    path = folder / "restored.json"
    if not path.exists():
        return None
    try:
        origin = json.loads(path.read_text())
        return {name: origin[name] for name in ("run", "epoch", "digest")}
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} was altered: it should say where {folder} was restored from. "
            f"Start anew under another --out."
        ) from None


def _from_other(run: loop.Run, folder: pathlib.Path) -> Start:
    """The state of another run between two of its epochs."""
    stored_config(folder)
    (progress, notes), epochs = _newest_of(run, folder), run.sgd.epochs
    for note in notes:
        run.report(f"{note} Starting from the one before.")
    state, done = progress.state, int(progress.state.epoch)
    if int(state.step):
        raise ValueError(
            f"{folder} was interrupted within epoch {done}. End that epoch first: "
            f"egnas search --out {folder} --resume --stop-after {done + 1}."
        )
    if done >= epochs:
        raise ValueError(
            f"{folder} has {done} epochs and this run will have {epochs}: nothing is "
            f"left to run. Set epochs to more."
        )
    lines = tuple(loop.records(folder, done))
    origin = {"run": str(folder), "epoch": done, "digest": loop.state_digest(state)}
    return Start(progress, origin, lines)


def _newest_of(run: loop.Run, folder: pathlib.Path):
    try:
        progress, notes = loop.newest(run._replace(folder=folder))
    except ValueError as error:
        raise ValueError(
            f"{folder} cannot be restored under this configuration: {error}"
        ) from None
    if progress is None:
        raise ValueError(f"{folder} holds no whole checkpoint. {' '.join(notes)}")
    return progress, notes


def check_free(folder: pathlib.Path, *, resume: bool) -> None:
    """Refuses a directory that holds a run, unless it is resumed, or other files.

    What a run leaves that was killed before its configuration was written is no hurdle.

    Raises:
      ValueError: as said.
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
    config, folder: pathlib.Path, read: Callable = from_dict
) -> None:
    """Refuses to go on with a run of another configuration.

    Args:
      config: of the run that is to go on.
      folder: run directory.
      read: makes a configuration of what config.json holds.

    Raises:
      ValueError: as said, with the differences; or the stored one cannot be read.
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
def claim(config, folder: pathlib.Path, start: Start, mesh: dict | None = None):
    """Makes the directory of a checked run, and holds it while the context is open.

    Args:
      config: becomes config.json.
      folder: run directory.
      start: becomes restored.json where it has an origin.
      mesh: what environment.json says of the devices (`search.mesh.describe`).

    Raises:
      ValueError: it cannot be written, or another process is writing to it.
    """
    lock = filelock.FileLock(folder / ".lock", blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()  # falls with its process, however that ends
    except filelock.Timeout:
        raise ValueError(
            f"Another process is writing to {folder}. Wait for its end, or name "
            f"another --out."
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        _write_origin(config, folder, start, mesh)
        yield
    finally:
        lock.release()


def _write_origin(config, folder, start, mesh):
    try:
        record.write_json(folder / "config.json", as_dict(config))
        if start.origin:
            record.write_json(folder / "restored.json", start.origin)
        record.write_json(folder / "environment.json", environment(mesh))
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: pathlib.Path, error: OSError) -> ValueError:
    return ValueError(
        f"{folder} cannot be written ({error.strerror}). Name another --out."
    )


def execute(
    config: SearchConfig,
    run: loop.Run,
    start: Start,
    *,
    stop_after: int | None,
    wrap: Callable[[Programs], Programs] = lambda programs: programs,
) -> dict | None:
    """Runs a search in its claimed directory and writes what it found; the summary.

    Of several processes those without a directory compute along, and return None.

    Args:
      config, run, start: the search, and where it begins.
      stop_after: epochs after which it ends early; None: never.
      wrap: of the compiled programs, e.g. `search.profile.profiled`.
    """
    done = int(start.progress.state.epoch) if start.progress else 0
    if done < loop.last_epoch(run, stop_after):
        progress, run = _begin_compiled(run, start)
        run = run._replace(programs=wrap(run.programs))
    else:
        progress = _begin(run, start)
    if config.tensorboard and run.folder:
        log = run.folder / "tensorboard"
        scalars = tensorboard.writer(log, int(progress.state.epoch))
    else:
        scalars = contextlib.nullcontext(lambda line: None)
    with scalars as write:

        def report(line):
            write(line)
            run.report(line)

        state = loop.search(run._replace(report=report), progress, stop_after)
    return finish(config, run, state)


def _begin_compiled(run: loop.Run, start: Start) -> tuple[loop.Progress, loop.Run]:
    """Where the run begins, and the run with its programs compiled.

    Weights are drawn while programs compile. Not with several processes: both exchange
    (tracing does where chunks follow the free memory), and two threads would do so in
    another order on every process.
    """
    if jax.process_count() > 1:
        return _begin(run, start), loop.compiled(run)
    with ThreadPoolExecutor(1) as pool:
        beginning = pool.submit(_begin, run, start)
        run = loop.compiled(run)
    return beginning.result(), run


def _begin(run: loop.Run, start: Start) -> loop.Progress:
    """Makes records and checkpoints what the start says.

    The start of several processes is that of the first. They have a checkpoint from
    the beginning, so that a lost process always leaves one.
    """
    progress = _of_first(run, start.progress or loop.beginning(run))
    if run.folder:
        metrics = run.folder / "metrics.jsonl"
        done = 0 if start.lines else int(progress.state.epoch)
        record.keep_before(metrics, done)  # the later ones are run again
        for line in start.lines:
            record.append(metrics, line)
    if start.lines or (start.progress is None and jax.process_count() > 1):
        loop.save(run, progress)
    return progress


def _of_first(run: loop.Run, progress: loop.Progress) -> loop.Progress:
    """How far process 0 has come, on every process; only it has read a checkpoint."""
    if jax.process_count() == 1:
        return progress
    info = processes.exchange(progress.info)[0]
    state = processes.from_first(progress.state)
    return loop.Progress(replicate(run.programs.mesh, state), info)


def finish(config: SearchConfig, run: loop.Run, state: SearchState) -> dict | None:
    """Genotype, drawing and summary of a state, or of the epoch that a stop returns.

    None where there is no directory.
    """
    space = SPACES[config.supernet.space]
    incumbent = run.strategy.incumbent(state.strategy)
    genotype = derive(space, jax.tree.map(np.asarray, incumbent))
    if not run.folder:  # the genotype was computed along with the other processes
        return None
    metrics = loop.records(run.folder)
    stop = metrics[-1].get("early_stop")
    if stop is not None:
        genotype = parse_genotype(metrics[stop]["genotype"])
    record.write_text(run.folder / "genotype.json", genotype.to_json())
    record.write_text(run.folder / "genotype.svg", draw_svg(genotype))
    summary = {
        "genotype": genotype.format(),
        "valid_accuracy": metrics[-1 if stop is None else stop]["valid_accuracy"],
        "early_stop": stop,
        "params": _params(genotype, config.supernet.num_classes),
        "seconds": sum(line["seconds"] for line in metrics),
        "epochs": len(metrics),
        "first_valid_accuracy": metrics[0]["valid_accuracy"],
        "chance": 1 / config.supernet.num_classes,
        "digest": metrics[-1]["digest"],
    }
    record.write_json(run.folder / "summary.json", summary)
    return summary


def _params(genotype, num_classes: int) -> int:
    """Weights of the network of the published tables: 36 channels and 20 cells, or what
    NAS-Bench-201 trained."""
    if isinstance(genotype, Topology):
        return topology_params(genotype, num_classes)
    return count_params(genotype, NetworkConfig(num_classes=num_classes))


def stored_config(folder: pathlib.Path, read: Callable = from_dict):
    """The configuration of a run directory.

    Args:
      folder: run directory.
      read: makes a configuration of what config.json holds; that of a search.

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
    """What a figure may depend on: versions, device, flags."""
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
            "compiler_options": lowering.compiler_options(),
        },
        "git": _git(),
    }


def _git() -> str | None:
    """Commit of this source, "+" where files differ from it; None where it has none."""
    source = pathlib.Path(__file__).parent
    command = ("git", "-C", str(source), "describe", "--always", "--abbrev=40",
               "--dirty=+", "--exclude=*")  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
