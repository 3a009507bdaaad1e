"""Runs a search on the host: epochs, records, checkpoints, interruption.

An epoch is a few calls of compiled programs. The metrics of a call are read after the
next one was dispatched, so the device never waits for the host. The loop knows nothing
of the method that it runs.

A method may search in stages, each with a supernet of its own. The checkpoint after the
last epoch of a stage holds its arrays; what follows from them, the next stage with its
first state, is not stored but made anew where a run is resumed.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.supernet_config import LivePrimitives, as_live
from egnas_jax.search.collapse import architecture_metrics
from egnas_jax.search.curvature import largest_eigenvalue
from egnas_jax.search.programs import SearchPrograms, compile_programs
from egnas_jax.search.step import (
    SearchHyperparams,
    SearchProblem,
    SearchState,
    Totals,
    init_state,
    steps_of_epoch,
    zero_totals,
)
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.search.watch import stop_epoch
from egnas_jax.space import SPACES, Space
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.devices import replicate
from egnas_jax.training.interrupt import SAVED, Interrupted, InterruptFlag, check_finite
from egnas_jax.training.out_of_memory import out_of_memory_in
from egnas_jax.training.processes import allgather_json
from egnas_jax.training.program_cache import CompileWatch, unwatched
from egnas_jax.training.sgd import learning_rate


class Stage(NamedTuple):
    """A stage of a search.

    Attributes:
      index: from 0.
      first: epoch that it begins with.
      end: the epoch after its last.
      live: primitives of its supernet; None: all.
    """

    index: int
    first: int
    end: int
    live: LivePrimitives | None

    def name(self) -> dict:
        """What a checkpoint tells of its stage, a JSON object."""
        return {"index": self.index, "first": self.first, "live": self.live}


class SearchRun(NamedTuple):
    """What the loop needs to run a search, or a stage of one.

    Attributes:
      problem: what is searched.
      programs: its compiled functions.
      hyperparams: its numbers; the loop sets the learning rate of each epoch.
      image_shape: of the data, (H, W, C).
      num_train, num_valid: images of training and validation.
      steps_per_call: weight steps in one call of the device.
      folder: run directory; None writes nothing.
      keep_checkpoints: how many checkpoints stay.
      on_epoch: called with each epoch's record, a dict.
      log: called with notes, a str each.
      identity: what the programs are made of, for `training.program_cache`.
      stage: which one it is; None for a search without stages.
      enter: (index, live) -> another stage of the same search.
      all_epochs: of a search in stages.
    """

    problem: SearchProblem
    programs: SearchPrograms
    hyperparams: SearchHyperparams
    image_shape: tuple[int, int, int]
    num_train: int
    num_valid: int
    steps_per_call: int = 8
    folder: pathlib.Path | None = None
    keep_checkpoints: int = 2
    on_epoch: Callable[[dict], None] = lambda record: None
    log: Callable[[str], None] = lambda text: None
    identity: Mapping | None = None
    stage: Stage | None = None
    enter: Callable[[int, LivePrimitives | None], "SearchRun"] | None = None
    all_epochs: int | None = None

    @property
    def num_steps(self) -> int:
        """Weight steps of an epoch."""
        return steps_of_epoch(self.problem, self.num_train)

    @property
    def epochs(self) -> int:
        """Epochs of the whole search."""
        return self.all_epochs or self.problem.sgd.epochs

    @property
    def space(self) -> Space:
        """The space of the cells."""
        return SPACES[self.problem.net.config.space]


class Progress(NamedTuple):
    """How far a run has come.

    Attributes:
      state: weights, the method's state and all else that a checkpoint holds.
      info: metrics of the method's update in the running epoch, if it came before the
        weight steps; else {}.
      stage: `Stage.name()` of the stage that the state belongs to, as it was stored;
        None for a search without stages, or for the stage of the run.
    """

    state: SearchState
    info: dict[str, float | list | None]
    stage: dict | None = None


def state_digest(state: SearchState) -> str:
    """Returns the sha256 over weights and strategy state.

    Two searches with equal digests are equal.
    """
    return checkpoint.digest(
        {
            "params": state.params,
            "batch_stats": state.batch_stats,
            "strategy": state.strategy,
        }
    )


def layout(run: SearchRun) -> SearchState:
    """Returns shapes and dtypes of a run's state, which a checkpoint must fit."""
    return jax.eval_shape(functools.partial(_init, run))


def _init(run: SearchRun) -> SearchState:
    return init_state(run.problem, run.image_shape, run.hyperparams)


def compiled(run: SearchRun, watch: CompileWatch = unwatched) -> SearchRun:
    """Compiles the run's programs side by side, or reads them from the user's cache.

    Args:
      run: with programs that are not compiled yet.
      watch: is told how far they are, see `training.program_cache`.
    """
    programs = compile_programs(
        run.problem,
        run.programs,
        run.hyperparams,
        layout(run),
        identity=run.identity,
        watch=watch,
    )
    return run._replace(programs=programs)


def beginning(run: SearchRun) -> Progress:
    """Makes the start of a run that continues no other, on the devices of the run."""
    return Progress(replicate(run.problem.net.mesh, _init(run)), {})


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
        return layout(in_stage(run, meta.get("stage")))

    return checkpoint.restore(run.folder / "checkpoints", target, step=step)


def progress_of(run: SearchRun, restored: checkpoint.Restored) -> Progress:
    """Returns where a checkpoint stands, its arrays on the devices of the run."""
    state = replicate(run.problem.net.mesh, restored.tree)
    return Progress(state, restored.meta["info"], restored.meta.get("stage"))


def in_stage(run: SearchRun, name: dict | None) -> SearchRun:
    """Returns the stage of a search that a checkpoint names.

    Args:
      run: any stage of the search.
      name: `Stage.name()`, as JSON may have stored it; None: the run as it is.

    Raises:
      ValueError: the search has no such stage.
    """
    if name is None or run.enter is None:
        return run
    entered = _entered(run, name["index"], as_live(name["live"]))
    if entered.stage.first != name["first"]:
        raise ValueError(
            f"it holds stage {name['index'] + 1}, which began with epoch "
            f"{name['first'] + 1}; that of this search begins with epoch "
            f"{entered.stage.first + 1}. Set epochs and the lengths of the stages to "
            f"those of that run."
        )
    return entered


def next_stage(run: SearchRun, progress: Progress) -> tuple[SearchRun, Progress]:
    """Returns the next stage and its first state, where a stage has ended.

    Args:
      run: a stage, or a search without any.
      progress: in that stage.
    """
    stage, epoch = run.stage, int(progress.state.epoch)
    if stage is None or epoch < stage.end or epoch >= run.epochs:
        return run, progress
    mixing = jax.tree.map(np.asarray, run.programs.incumbent(progress.state))
    live = run.problem.strategy.prune(mixing)
    run = _entered(run, stage.index + 1, live)
    return run, beginning(run)


def _entered(run: SearchRun, index: int, live: LivePrimitives | None) -> SearchRun:
    """Another stage, whose host side is that of the run."""
    same = ("steps_per_call", "folder", "keep_checkpoints", "on_epoch", "log")
    fields = {name: getattr(run, name) for name in same}
    return run.enter(index, live)._replace(**fields)


class SearchEnd(NamedTuple):
    """Where the loop ended.

    Attributes:
      state: after the last epoch.
      records: of all epochs, those before a resume included.
      stage: that the state belongs to, `Stage.name()`; None for a search without
        stages.
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
    watch: CompileWatch = unwatched,
) -> SearchEnd:
    """Runs until all epochs or `stop_after` epochs are done, or the stop rule ends it.

    The record of an epoch after which the rule ends the search holds `early_stop`, the
    epoch whose genotype is returned.

    Args:
      run: the search.
      start: where it begins.
      stop_after: epochs after which it ends early; None: never.
      earlier: records of the epochs before `start`; None: those of the run directory.
      interrupted: of an `InterruptFlag` that the caller has entered; None: the search
        enters one itself.
      watch: is told how far the programs of a later stage are.

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
            run, progress = next_compiled(run, progress, watch)
            state, record = run_epoch(run, progress, interrupted)
            progress = Progress(state, {})
            lines.append(record)
            stopped = _stop_early(run, lines)
            if run.folder:
                records.append(run.folder / "metrics.jsonl", record)
            save(run, progress)
            run.on_epoch(record)
            if stopped:
                run.log(_early_stop_note(record))
            if interrupted():
                raise Interrupted(SAVED)
    return SearchEnd(progress.state, lines, run.stage and run.stage.name())


def next_compiled(
    run: SearchRun, progress: Progress, watch: CompileWatch = unwatched
) -> tuple[SearchRun, Progress]:
    """Returns the next stage with compiled programs, where a stage has ended.

    Args:
      run, progress: as of `next_stage`.
      watch: is told how far the programs are.
    """
    following, progress = next_stage(run, progress)
    is_new = following is not run
    return compiled(following, watch) if is_new else run, progress


def _interrupt_flag(run: SearchRun, interrupted: Callable[[], bool] | None):
    """Remembers a signal where a checkpoint can be written; else it acts at once."""
    if interrupted is not None:
        return contextlib.nullcontext(interrupted)
    if run.folder or jax.process_count() > 1:  # then process 0 has the folder
        return InterruptFlag(run.log)
    return contextlib.nullcontext(lambda: False)


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
    state, info = progress.state, progress.info
    step = int(state.epoch) * (run.num_steps + 1) + int(state.step)
    meta = {"epoch": int(state.epoch), "info": info}
    if run.stage is not None:
        meta["stage"] = run.stage.name()
    meta = records.plain(meta)
    folder = run.folder / "checkpoints"
    checkpoint.save(folder, step, state, meta, keep=run.keep_checkpoints)


def run_epoch(
    run: SearchRun, start: Progress, interrupted: Callable = lambda: False
) -> tuple[SearchState, dict]:
    """Runs one epoch, or the rest of one; returns the state and the epoch's record.

    Args:
      run, start: the search, and how far it has come.
      interrupted: called after each call of the device; True ends the run.

    Raises:
      Interrupted: `interrupted()` returned True; a checkpoint was written first.
      FloatingPointError: the loss is NaN or infinite.
    """
    started = time.perf_counter()
    state, info = start.state, start.info
    epoch, schedule = int(state.epoch), run.problem.schedule
    shift = schedule.learning_rate_epoch == "next"
    first = run.stage.first if run.stage else 0
    rate = learning_rate(run.problem.sgd, epoch - first + shift)
    hyperparams = run.hyperparams.replace(learning_rate=np.float32(rate))
    run = run._replace(hyperparams=hyperparams)
    evolves = run.problem.strategy.update_every == "epoch"
    evolves_first = schedule.order == "strategy_first"
    if evolves and evolves_first and int(state.step) == 0:
        state, info = _evolve(run, state)
    with out_of_memory_in("train"):
        state, totals = _weight_steps(run, Progress(state, info), interrupted)
    if evolves and not evolves_first:
        state, info = _evolve(run, state)
    with out_of_memory_in("validate"):
        scores = run.programs.validate(run.hyperparams, state)
        check_finite(run.folder, epoch, "validation", float(scores.loss))
    record = {
        "epoch": epoch,
        "train_loss": totals.loss / totals.images,
        "train_accuracy": totals.correct / totals.images,
        "valid_loss": float(scores.loss),
        "valid_accuracy": float(scores.accuracy),
        "learning_rate": rate,
        **({"stage": run.stage.index} if run.stage else {}),
        **info,
        **run.programs.metrics(state),
        **_architecture(run, state),
        **_eigenvalue(run, state),
    }
    state = _next_epoch(run, state)
    record["digest"] = state_digest(state)
    record["seconds"] = time.perf_counter() - started
    return state, records.plain(record)  # as metrics.jsonl holds it


def _next_epoch(run: SearchRun, state: SearchState) -> SearchState:
    """The state between two epochs."""
    start = jnp.int32(int(state.epoch) + 1), jnp.int32(0), zero_totals()
    epoch, step, totals = replicate(run.problem.net.mesh, start)
    return state.replace(epoch=epoch, step=step, totals=totals)


def _architecture(run: SearchRun, state: SearchState) -> dict[str, float | int | str]:
    """Describes the incumbent and its genotype."""
    mixing = run.programs.incumbent(state)
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


def _evolve(run: SearchRun, state: SearchState):
    """The once-an-epoch update, its metrics on the host."""
    with out_of_memory_in("evolve"):
        state, info = run.programs.evolve(run.hyperparams, state)
        return state, {name: value.tolist() for name, value in info.items()}


def _weight_steps(run: SearchRun, start: Progress, interrupted: Callable):
    """The epoch's remaining weight steps; totals on the host."""
    state, info = start.state, start.info
    step, unread, epoch = int(state.step), None, int(state.epoch)
    totals = jax.tree.map(np.asarray, state.totals)
    while step < run.num_steps:
        stop = min(step + run.steps_per_call, run.num_steps)
        span = jnp.int32(step), jnp.int32(stop)
        state, new = run.programs.train(run.hyperparams, state, span)
        if unread is not None:  # read while the device works on the next call
            _check_loss(run, epoch, unread)
        step, unread = stop, new
        if interrupted():
            _check_loss(run, epoch, unread)
            save(run, Progress(state, info))
            raise Interrupted(SAVED)
    if unread is not None:
        totals = _check_loss(run, epoch, unread)
    return state, totals


def _check_loss(run: SearchRun, epoch: int, totals: Totals) -> Totals:
    totals = jax.tree.map(lambda leaf: leaf.item(), totals)
    check_finite(run.folder, epoch, "training", totals.loss)
    return totals
