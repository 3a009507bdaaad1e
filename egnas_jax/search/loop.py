"""The search loop on the host: epochs, records, checkpoints, interruption.

An epoch is a few calls of compiled programs. Metrics of a call are read after the next
one was dispatched, so the device never waits for the host.
"""

import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.search.collapse import architecture_figures
from egnas_jax.search.curvature import largest_eigenvalue
from egnas_jax.search.step import Programs, SearchState, zero_totals
from egnas_jax.search.strategy import Strategy
from egnas_jax.search.watch import WatchConfig, stop_epoch
from egnas_jax.storage import checkpoint
from egnas_jax.storage import records as files
from egnas_jax.training import program_cache
from egnas_jax.training.devices import everywhere, replicate
from egnas_jax.training.interrupt import SAVED, Interrupted, InterruptFlag, check_finite
from egnas_jax.training.out_of_memory import out_of_memory_in
from egnas_jax.training.processes import allgather_json
from egnas_jax.training.sgd import SGD, learning_rate


class Run(NamedTuple):
    """Where and how a search runs.

    Attributes:
      folder: run directory; None where another process writes it.
      programs, strategy, sgd: what runs.
      steps_per_call: weight steps of one call.
      keep: checkpoints that stay.
      report: called with each epoch's line, and with notes (`str`).
      watch: for a collapse.
      identity: what the programs are made of, as `search.ahead` wants it to keep them.
    """

    folder: pathlib.Path | None
    programs: Programs
    strategy: Strategy
    sgd: SGD
    steps_per_call: int
    keep: int
    report: Callable
    watch: WatchConfig = WatchConfig()
    identity: Mapping | None = None


def state_digest(state: SearchState) -> str:
    """Sha256 over weights and strategy state: equal digests, equal searches."""
    return checkpoint.digest(
        {
            "params": state.params,
            "batch_stats": state.batch_stats,
            "strategy": state.strategy,
        }
    )


def layout(run: Run) -> SearchState:
    """Shapes and dtypes of a run's state: what a checkpoint must fit."""
    return jax.eval_shape(run.programs.init)


def compiled(run: Run) -> Run:
    """The run with its programs compiled, or read from the user's cache.

    Without it each is compiled by its first call, one after another.
    """
    programs = run.programs
    shape = functools.partial(jax.ShapeDtypeStruct, sharding=everywhere(programs.mesh))
    state = jax.tree.map(lambda leaf: shape(leaf.shape, leaf.dtype), layout(run))
    step = shape((), jnp.int32)
    calls = {"train": (state, step, step, shape((), jnp.float32))}
    if run.strategy.every == "epoch":
        calls["evolve"] = (state,)
    calls["validate"] = (state,)
    if programs.curvature:
        dim = programs.space.dim
        rows = dim if run.watch.eigenvalue == "exact" else 1
        calls["curvature"] = (state, shape((rows, dim), jnp.float32))
    requests = {
        name: program_cache.Request(getattr(programs, name), arguments)
        for name, arguments in calls.items()
    }
    found = program_cache.compile_all(requests, run.identity)
    return run._replace(programs=programs._replace(**found))


def beginning(run: Run) -> "Progress":
    """Where a run begins that starts from nothing."""
    return Progress(replicate(run.programs.mesh, run.programs.init()), {})


class Progress(NamedTuple):
    """How far a run has come.

    Attributes:
      state: weights, alpha and all else that a checkpoint holds.
      info: figures of an update that the running epoch began with; {} between epochs.
    """

    state: SearchState
    info: dict[str, float | list | None]


def newest(run: Run) -> tuple[Progress | None, tuple[str, ...]]:
    """The newest valid checkpoint of a run, and a note for each newer damaged one.

    None where no checkpoint was finished or none is whole. Nothing is changed.
    """
    try:
        found = checkpoint.restore(run.folder / "checkpoints", layout(run))
    except checkpoint.NoCheckpointError as error:
        return None, error.notes
    state = replicate(run.programs.mesh, found.tree)
    return Progress(state, found.meta["info"]), found.notes


def search(run: Run, start: Progress, stop_after: int | None = None) -> SearchState:
    """Runs epochs until schedule or stop rule end it, or `stop_after` are done.

    The line of an epoch that the rule ends the search with holds `early_stop`, the
    epoch whose genotype is returned.

    Raises:
      Interrupted: SIGINT arrived; a checkpoint has been written.
      FloatingPointError: the loss is NaN or infinite, with epoch and last checkpoint.
      OSError: a file could not be written; the last checkpoint is whole.
    """
    state, info = start
    # of the process that has the folder, since all must come to the same end
    lines = allgather_json(
        files.read(run.folder / "metrics.jsonl") if run.folder else []
    )[0]
    stopped = run.watch.stop and lines and "early_stop" in lines[-1]
    with InterruptFlag(run.report) as interrupted:
        while int(state.epoch) < last_epoch(run, stop_after) and not stopped:
            state, line = run_epoch(run, Progress(state, info), interrupted)
            info = {}
            lines.append(line)
            stopped = _stop_early(run, lines)
            if run.folder:
                files.append(run.folder / "metrics.jsonl", line)
            save(run, Progress(state, info))
            run.report(line)
            if stopped:
                run.report(_said(line))
            if interrupted():
                raise Interrupted(SAVED)
    return state


def last_epoch(run: Run, stop_after: int | None) -> int:
    """Epochs that are done at the end, if no rule ends the search before."""
    return run.sgd.epochs if stop_after is None else min(stop_after, run.sgd.epochs)


def _stop_early(run: Run, lines: list[dict]) -> bool:
    """Whether the rule ends the search now; then its last line says so.

    Not after the last epoch, which ends it anyway.
    """
    if not run.watch.stop or len(lines) >= run.sgd.epochs:
        return False
    epoch = stop_epoch([line.get("eigenvalue") for line in lines], run.watch)
    if epoch is None:
        return False
    lines[-1]["early_stop"] = epoch
    return True


def _said(line: dict) -> str:
    return (
        f"Stopped early after epoch {line['epoch'] + 1}: the largest eigenvalue of "
        f"alpha's Hessian grows. The genotype is that of epoch "
        f"{line['early_stop'] + 1}."
    )


def save(run: Run, progress: Progress) -> None:
    """One checkpoint, where this process has the folder.

    Its step counts weight steps, and epochs by one more each.
    """
    if not run.folder:
        return
    state, info = progress
    step = int(state.epoch) * (run.programs.num_steps + 1) + int(state.step)
    meta = files.plain({"epoch": int(state.epoch), "info": info})
    checkpoint.save(run.folder / "checkpoints", step, state, meta, keep=run.keep)


def run_epoch(run: Run, start: Progress, interrupted=lambda: False):
    """One epoch, or what is left of it: the state after it and its line of metrics."""
    (state, info), started = start, time.perf_counter()
    epoch = int(state.epoch)
    regime = run.strategy.regime
    shift = regime.learning_rate_epoch == "next"
    rate = learning_rate(run.sgd, epoch + shift)
    once = run.strategy.every == "epoch"
    early = regime.order == "strategy_first"
    if once and early and int(state.step) == 0:
        state, info = _evolve(run, state)
    with out_of_memory_in("train"):
        state, totals = _weight_steps(run, Progress(state, info), rate, interrupted)
    if once and not early:
        state, info = _evolve(run, state)
    with out_of_memory_in("validate"):
        scores = run.programs.validate(state)
        check_finite(run.folder, epoch, "validation", float(scores.loss))
    line = {
        "epoch": epoch,
        "train_loss": totals.loss / totals.images,
        "train_accuracy": totals.correct / totals.images,
        "valid_loss": float(scores.loss),
        "valid_accuracy": float(scores.accuracy),
        "learning_rate": rate,
        **info,
        **architecture_figures(run.programs.space, run.programs.incumbent(state)),
        **_watched(run, state),
    }
    epoch, step, totals = replicate(
        run.programs.mesh, (jnp.int32(epoch + 1), jnp.int32(0), zero_totals())
    )
    state = state._replace(epoch=epoch, step=step, totals=totals)
    line["digest"] = state_digest(state)
    line["seconds"] = time.perf_counter() - started
    return state, line


def _watched(run: Run, state: SearchState) -> dict[str, float | None]:
    """The eigenvalue, where it is watched; None where it is no number."""
    method = run.watch.eigenvalue
    if method == "off":
        return {}
    with out_of_memory_in("watch"):
        value = largest_eigenvalue(
            functools.partial(run.programs.curvature, state),
            run.programs.space.dim,
            method,
        )
    return {"eigenvalue": value if np.isfinite(value) else None}


def _evolve(run: Run, state: SearchState):
    """The once-an-epoch update, its figures on the host."""
    with out_of_memory_in("evolve"):
        state, info = run.programs.evolve(state)
        return state, {name: value.tolist() for name, value in info.items()}


def _weight_steps(run: Run, start: Progress, rate: float, interrupted):
    """The epoch's remaining weight steps; totals on the host."""
    state, info = start
    step, end, unread = int(state.step), run.programs.num_steps, None
    epoch, rate = int(state.epoch), jnp.float32(rate)
    totals = jax.tree.map(np.asarray, state.totals)
    while step < end:
        stop = min(step + run.steps_per_call, end)
        state, new = run.programs.train(state, jnp.int32(step), jnp.int32(stop), rate)
        if unread is not None:  # one call late
            _check_loss(run, epoch, unread)
        step, unread = stop, new
        if interrupted():
            _check_loss(run, epoch, unread)
            save(run, Progress(state, info))
            raise Interrupted(SAVED)
    if unread is not None:
        totals = _check_loss(run, epoch, unread)
    return state, totals


def _check_loss(run: Run, epoch: int, totals):
    totals = jax.tree.map(lambda leaf: leaf.item(), totals)
    check_finite(run.folder, epoch, "training", totals.loss)
    return totals
