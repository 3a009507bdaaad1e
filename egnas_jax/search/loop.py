"""Runs a search on the host: epochs, records, checkpoints, interruption.

An epoch is a few calls of compiled programs. The metrics of a call are read after the
next one was dispatched, so the device never waits for the host. The loop knows nothing
of the method that it runs.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.search import stored_state
from egnas_jax.search.collapse import architecture_metrics
from egnas_jax.search.cost import epoch_costs
from egnas_jax.search.curvature import largest_eigenvalue
from egnas_jax.search.epoch import evolve_order, rate_of_epoch
from egnas_jax.search.search_run import (
    Progress,
    SearchRun,
    in_stage,
    layout,
    next_compiled,
)
from egnas_jax.search.state import SearchState, Totals, zero_totals
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.search.watch import stop_epoch
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.devices import replicate
from egnas_jax.training.interrupt import (
    SAVED,
    Interrupted,
    InterruptFlag,
    check_finite,
    flag_where_saved,
)
from egnas_jax.training.out_of_memory import out_of_memory_in
from egnas_jax.training.processes import allgather_json
from egnas_jax.training.program_cache import CompileMonitor, unmonitored
from egnas_jax.types import Array, Evaluation, Mixing


def state_digest(state: SearchState) -> str:
    """Returns the sha256 over the weights, batch_stats and the method's state.

    The momentum of SGD, the accumulated gradient of alpha, the epoch and the step are
    left out: searches with equal digests may go on differently where these differ.
    """
    return checkpoint.digest(
        {
            "params": state.params,
            "batch_stats": state.batch_stats,
            "strategy": state.strategy,
        }
    )


def newest(run: SearchRun) -> tuple[Progress | None, tuple[str, ...]]:
    """Reads the newest valid checkpoint; returns a note for each damaged newer one.

    The progress is None where no checkpoint was finished or none is whole. Nothing is
    changed.

    Raises:
      ValueError: a valid checkpoint is of another network, or of another stage than
        this run has at its epoch.
    """
    try:
        restored = restore(run)
    except checkpoint.NoCheckpointError as error:
        return None, error.notes
    return progress_of(run, restored), restored.notes


def restore(run: SearchRun, step: int | None = None) -> checkpoint.Restored:
    """Reads a checkpoint of a run, whichever of its stages it belongs to.

    Args:
      run: any stage of the search.
      step: of the checkpoint; None: the newest.

    Raises:
      NoCheckpointError: there is none, or none is whole.
      ValueError: the checkpoint is of another network, or of a stage that the search
        does not have.
    """

    def target(meta: dict) -> SearchState:
        entered = in_stage(run, meta.get("stage"))
        problem = stored_state.as_stored(entered.problem, meta)
        return layout(entered._replace(problem=problem))

    restored = checkpoint.restore(run.folder / "checkpoints", target, step=step)
    return stored_state.as_computed(run.problem, restored)


def progress_of(run: SearchRun, restored: checkpoint.Restored) -> Progress:
    """Returns where a checkpoint stands, its arrays on the devices of the run."""
    state = replicate(run.problem.net.mesh, restored.tree)
    return Progress(state, restored.meta["info"], restored.meta.get("stage"))


class SearchEnd(NamedTuple):
    """Where the loop ended.

    Attributes:
      state: after the last epoch.
      records: of all epochs, those before a resume included.
      stage: the stage that the state belongs to, `SearchStage.as_json()`; None for a
        search without stages.
    """

    state: SearchState
    records: list[dict]
    stage: dict | None = None


def search(
    run: SearchRun,
    start: Progress,
    stop_after: int | None = None,
    earlier: list[dict] | None = None,
    interrupted: Callable[[], bool] | None = None,
    *,
    monitor: CompileMonitor = unmonitored,
) -> SearchEnd:
    """Runs until all epochs or `stop_after` epochs are done, or the stop rule ends it.

    The record of an epoch after which the rule ends the search holds `early_stop`, the
    epoch whose genotype is returned.

    Args:
      run: the search.
      start: where it begins.
      stop_after: epochs after which it ends early; None: never.
      earlier: records of the epochs before `start`; None: those of the run directory.
      interrupted: the function of an `InterruptFlag` that the caller has entered; None:
        the search enters one itself.
      monitor: called with the progress of the programs of a later stage.

    Raises:
      Interrupted: SIGINT or SIGTERM arrived; a checkpoint has been written.
      FloatingPointError: the loss is NaN or infinite, with epoch and last checkpoint.
      OSError: a file could not be written; the last checkpoint is whole.
    """
    progress = start
    if earlier is None:
        earlier = records.read(run.folder / "metrics.jsonl") if run.folder else []
    # those of the process that has the folder, since all must end after one epoch
    lines = list(allgather_json(earlier)[0])
    stopped = run.problem.watch.stop and lines and "early_stop" in lines[-1]
    with _interrupt_flag(run, interrupted) as interrupted:
        last = last_epoch(run, stop_after)
        while int(progress.state.epoch) < last and not stopped:
            run, progress = next_compiled(run, progress, monitor)
            state, record = run_epoch(run, progress, interrupted)
            progress = Progress(state, {})
            lines.append(record)
            stopped = _stop_early(run, lines)
            write_epoch(run, progress, record)
            if stopped:
                run.log(_early_stop_note(record))
            if interrupted():
                raise Interrupted(SAVED)
    return SearchEnd(progress.state, lines, run.stage and run.stage.as_json())


def write_epoch(run: SearchRun, progress: Progress, record: dict) -> None:
    """Writes the record of an epoch and then its checkpoint, and reports the record.

    Args:
      run: the search.
      progress: after the epoch.
      record: of the epoch, as `run_epoch` returns it.
    """
    if run.folder:
        records.append(run.folder / "metrics.jsonl", record)
    save(run, progress)
    run.on_epoch(record)


def _interrupt_flag(run: SearchRun, interrupted: Callable[[], bool] | None):
    """The caller's function, or a context that makes one, see `search`."""
    if interrupted is not None:
        return contextlib.nullcontext(interrupted)
    if jax.process_count() > 1:  # process 0 has the folder
        return InterruptFlag(run.log)
    return flag_where_saved(run.folder, run.log)


def last_epoch(run: SearchRun, stop_after: int | None) -> int:
    """Returns the epochs done at the end, if no rule ends the search before."""
    return run.epochs if stop_after is None else min(stop_after, run.epochs)


def _stop_early(run: SearchRun, lines: list[dict]) -> bool:
    """Decides whether the stop rule ends the search after this epoch.

    If so, `early_stop` is set in the last record. The rule never ends a search whose
    last epoch is done.
    """
    if not run.problem.watch.stop or len(lines) >= run.epochs:
        return False
    eigenvalues = [line.get("eigenvalue") for line in lines]
    epoch = stop_epoch(eigenvalues, run.problem.watch)
    if epoch is None:
        return False
    lines[-1]["early_stop"] = epoch
    return True


def _early_stop_note(record: dict) -> str:
    return (
        f"Stopped early after epoch {record['epoch'] + 1}: the largest eigenvalue of "
        f"alpha's Hessian grows. The genotype is that of epoch "
        f"{record['early_stop'] + 1}."
    )


def save(run: SearchRun, progress: Progress) -> None:
    """Writes one checkpoint, where this process has the folder.

    Its step counts weight steps, and one more for each epoch.
    """
    if not run.folder:
        return
    state = progress.state
    step = int(state.epoch) * (run.num_steps + 1) + int(state.step)
    meta = {
        "epoch": int(state.epoch),
        "info": progress.metrics,
        "one_vector": run.problem.one_vector,
    }
    if run.stage is not None:
        meta["stage"] = run.stage.as_json()
    meta = records.plain(meta)
    folder = run.folder / "checkpoints"
    checkpoint.save(folder, step, state, meta, keep=run.keep_checkpoints)


def run_epoch(
    run: SearchRun, start: Progress, interrupted: Callable = lambda: False
) -> tuple[SearchState, dict]:
    """Runs one epoch, or the rest of one; returns the state and the epoch's record.

    Its order is that of `member_epochs.run_epoch`, for several searches, and of
    `SearchFunctions.epoch` in `search.functions`, without a host.

    Args:
      run, start: the search, and its progress at the start.
      interrupted: called after each call of the device; True ends the run.

    Raises:
      Interrupted: `interrupted()` returned True; a checkpoint was written first.
      FloatingPointError: the loss is NaN or infinite.
    """
    started = time.perf_counter()
    state, metrics = start.state, start.metrics
    epoch = int(state.epoch)
    rate = rate_of_epoch(run.problem, epoch - run.first_epoch)
    hyperparams = run.hyperparams.replace(learning_rate=np.float32(rate))
    run = run._replace(hyperparams=hyperparams)
    evolves_before, evolves_after = evolve_order(run.problem)
    if evolves_before and int(state.step) == 0:
        state, metrics = _evolve(run, state)
    with out_of_memory_in("train"):
        state, totals = _weight_steps(run, Progress(state, metrics), interrupted)
    if evolves_after:
        state, metrics = _evolve(run, state)
    with out_of_memory_in("validate"):
        scores = run.programs.validate(run.hyperparams, state)
        check_finite(run.folder, epoch, "validation", float(scores.loss))
    measured = Measured(
        epoch=epoch,
        learning_rate=rate,
        totals=totals,
        scores=scores,
        metrics={**metrics, **run.programs.metrics(state)},
        mixing=run.programs.incumbent(state),
    )
    record = epoch_record(run, measured) | _eigenvalue(run, state)
    state = _next_epoch(run, state)
    record["digest"] = state_digest(state)
    record["seconds"] = time.perf_counter() - started
    return state, records.plain(record)  # as metrics.jsonl holds it


class Measured(NamedTuple):
    """What an epoch measured, on the host.

    Attributes:
      epoch: from 0.
      learning_rate: of its weight steps.
      totals: sums over its weight steps, numbers.
      scores: of the incumbent on all validation images.
      metrics: name -> what the method reports of its update and of its state.
      mixing: the incumbent.
    """

    epoch: int
    learning_rate: float
    totals: Totals
    scores: Evaluation
    metrics: dict[str, float | list | None]
    mixing: Mixing


def epoch_record(run: SearchRun, measured: Measured) -> dict:
    """Makes the record of an epoch, except its eigenvalue, digest and time."""
    totals, scores = measured.totals, measured.scores
    return {
        "epoch": measured.epoch,
        "train_loss": totals.loss / totals.images if totals.images else None,
        "train_accuracy": totals.correct / totals.images if totals.images else None,
        "valid_loss": float(scores.loss),
        "valid_accuracy": float(scores.accuracy),
        "learning_rate": measured.learning_rate,
        **({"stage": run.stage.index} if run.stage else {}),
        **measured.metrics,
        **_costs(run, measured),
        **_architecture(run, measured.mixing),
    }


def _costs(run: SearchRun, measured: Measured) -> dict[str, float | None]:
    """What the epoch cost, see `search.cost`."""
    return epoch_costs(
        run.problem.strategy.passes,
        measured.epoch - run.first_epoch,
        train_images=measured.totals.images,
        valid_images=run.num_steps * run.problem.valid_batch_size,
        metrics=measured.metrics,
    )


def _next_epoch(run: SearchRun, state: SearchState) -> SearchState:
    """The state between two epochs."""
    start = jnp.int32(int(state.epoch) + 1), jnp.int32(0), zero_totals()
    epoch, step, totals = replicate(run.problem.net.mesh, start)
    return state.replace(epoch=epoch, step=step, totals=totals)


def _architecture(run: SearchRun, mixing: Mixing) -> dict[str, float | int | str]:
    """Describes an incumbent and its genotype."""
    genotype = derive_incumbent(run.problem.strategy, run.space, mixing)
    return architecture_metrics(run.space, mixing, genotype)


def _eigenvalue(run: SearchRun, state: SearchState) -> dict[str, float | None]:
    """The largest eigenvalue, where it is watched; None where it is not finite."""
    method = run.problem.watch.eigenvalue
    if method == "off":
        return {}
    products = functools.partial(run.programs.curvature, run.hyperparams, state)
    with out_of_memory_in("watch"):
        value = largest_eigenvalue(products, run.space.dim, method)
    return {"eigenvalue": value if np.isfinite(value) else None}


def metrics_on_host(metrics: Mapping[str, Array]) -> dict[str, float | list | None]:
    """Metrics of an update; a list without any finite number becomes None."""
    values = {name: np.asarray(value) for name, value in metrics.items()}
    return {
        name: value.tolist() if not value.ndim or np.isfinite(value).any() else None
        for name, value in values.items()
    }


def _evolve(run: SearchRun, state: SearchState):
    """The once-an-epoch update, its metrics on the host."""
    with out_of_memory_in("evolve"):
        state, metrics = run.programs.evolve(run.hyperparams, state)
        return state, metrics_on_host(metrics)


def _weight_steps(run: SearchRun, start: Progress, interrupted: Callable):
    """The epoch's remaining weight steps; totals on the host."""
    state, unread = start.state, None
    step, epoch = int(state.step), int(state.epoch)
    totals = jax.tree.map(np.asarray, state.totals)
    while step < run.num_steps:
        stop = min(step + run.steps_per_call, run.num_steps)
        span = jnp.int32(step), jnp.int32(stop)
        state, new = run.programs.train(run.hyperparams, state, span)
        if unread is not None:  # read while the device works on the next call
            _finite_totals(run, epoch, unread)
        step, unread = stop, new
        run.on_steps(step, run.num_steps)
        if interrupted():
            _finite_totals(run, epoch, unread)
            save(run, start._replace(state=state))
            raise Interrupted(SAVED)
    if unread is not None:
        totals = _finite_totals(run, epoch, unread)
    return state, totals


def _finite_totals(run: SearchRun, epoch: int, totals: Totals) -> Totals:
    """Totals as numbers of the host.

    Raises:
      FloatingPointError: the loss is NaN or infinite.
    """
    totals = jax.tree.map(lambda leaf: leaf.item(), totals)
    check_finite(run.folder, epoch, "training", totals.loss)
    return totals
