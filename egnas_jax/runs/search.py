"""A search from its beginning to what it found, in its directory."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.topology_cost import topology_params
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.search_resume import Start
from egnas_jax.search import loop
from egnas_jax.search.step import Programs, SearchState
from egnas_jax.space import SPACES, Topology, derive, draw_svg, parse_genotype
from egnas_jax.storage import records, tensorboard
from egnas_jax.training import processes
from egnas_jax.training.devices import replicate


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
        records.keep_before(metrics, done)  # the later ones are run again
        for line in start.lines:
            records.append(metrics, line)
    if start.lines or (start.progress is None and jax.process_count() > 1):
        loop.save(run, progress)
    return progress


def _of_first(run: loop.Run, progress: loop.Progress) -> loop.Progress:
    """How far process 0 has come, on every process; only it has read a checkpoint."""
    if jax.process_count() == 1:
        return progress
    info = processes.allgather_json(progress.info)[0]
    state = processes.broadcast_from_first(progress.state)
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
    metrics = records.read_epochs(run.folder)
    stop = metrics[-1].get("early_stop")
    if stop is not None:
        genotype = parse_genotype(metrics[stop]["genotype"])
    records.write_text(run.folder / "genotype.json", genotype.to_json())
    records.write_text(run.folder / "genotype.svg", draw_svg(genotype))
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
    records.write_json(run.folder / "summary.json", summary)
    return summary


def _params(genotype, num_classes: int) -> int:
    """Weights of the network of the published tables: 36 channels and 20 cells, or what
    NAS-Bench-201 trained."""
    if isinstance(genotype, Topology):
        return topology_params(genotype, num_classes)
    return count_params(genotype, NetworkConfig(num_classes=num_classes))
