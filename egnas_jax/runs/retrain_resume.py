"""Finds where a retraining begins: at its start, at its own newest checkpoint, or at
another run's."""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from egnas_jax.retrain import loop
from egnas_jax.retrain.step import RetrainState
from egnas_jax.runs import origin
from egnas_jax.runs.environment import warn_of_changes, width_of
from egnas_jax.runs.finished_network import load_config, restore
from egnas_jax.runs.initial_weights import with_weights_of
from egnas_jax.storage import records
from egnas_jax.types import Array


class RetrainStart(NamedTuple):
    """Where a retraining begins or goes on.

    Attributes:
      state: before its next step.
      origin: content of restored.json, or None.
      records: the other run's records of the earlier epochs, if the run begins now.
    """

    state: RetrainState
    origin: dict | None = None
    records: tuple[dict, ...] = ()


def find_start(
    run: loop.RetrainRun, source: str | pathlib.Path | None, *, resume: bool
) -> RetrainStart:
    """The run's own newest checkpoint, another run's, or the state before step 1.

    Nothing is changed.

    Args:
      run: the retraining.
      source: directory of the run to start from, or None.
      resume: whether the run may exist already.

    Raises:
      ValueError: the records do not match the checkpoint; the run did not start from
        `source`, or cannot; the weights of `config.init_from` do not fit.
    """
    recorded = origin.recorded_origin(run.folder) if resume else None
    state, notes = loop.restore_newest(run) if resume else (None, ())
    began_at = origin.find_source(
        run.folder, source, recorded, has_state=state is not None
    )
    next_step = "Starting over." if state is None else "Going on from the one before."
    for note in notes:
        run.log(f"{note} {next_step}")
    if state is not None:
        records.read_epochs(run.folder, loop.num_recorded(run, int(state.step)))
        return RetrainStart(state, recorded)
    if began_at is not None:
        return _start_from(run, began_at)
    if resume:
        run.log(f"{run.folder}: no whole checkpoint, so from the beginning.")
    state = run.programs.init()
    if run.config.init_from is None:
        return RetrainStart(state)
    return RetrainStart(with_weights_of(state, pathlib.Path(run.config.init_from)))


def _start_from(run: loop.RetrainRun, folder: pathlib.Path) -> RetrainStart:
    """The state of another retraining between two of its epochs."""
    restored = restore(folder)
    # A state is taken over as it is, whatever batch has computed it.
    warn_of_changes(folder, run.log, width_of(folder))
    for note in restored.notes:
        run.log(f"{note} Starting from the one before.")
    state, done = restored.tree, restored.meta["epoch"]
    _check_network(run, state, folder)
    _check_epochs(run, int(state.step), done, folder)
    state = state.replace(
        losses=_resized(state.losses, run.config.epochs),
        correct=_resized(state.correct, run.config.epochs),
    )
    earlier = records.read_epochs(folder, loop.num_recorded(run, int(state.step)))
    began_at = origin.describe(folder, done, loop.state_digest(state))
    return RetrainStart(state, began_at, tuple(earlier))


def _check_network(
    run: loop.RetrainRun, state: RetrainState, folder: pathlib.Path
) -> None:
    """Refuses the state of another network."""

    def shapes(state):
        parts = state.params, state.batch_stats, state.optimizer
        leaves = jax.tree_util.tree_leaves_with_path(parts)
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}

    same_cells = load_config(folder).genotype == run.config.genotype
    if not same_cells or shapes(state) != shapes(jax.eval_shape(run.programs.init)):
        raise ValueError(
            f"{folder} holds another network. --restore goes on with the training of "
            f"a run: genotype, network.* and the number of classes must be its own. "
            f"--init-from takes over the weights alone."
        )


def _check_epochs(
    run: loop.RetrainRun, step: int, done: int, folder: pathlib.Path
) -> None:
    """Refuses a state within an epoch, and one after the last epoch of this run."""
    steps, epochs = run.pipeline.num_steps, run.config.epochs
    if step != done * steps:
        raise ValueError(
            f"{folder} has done {step} steps, which are no whole epochs of {steps} "
            f"steps. If it was interrupted within epoch {done + 1}, end that epoch "
            f"first: egnas retrain --out {folder} --resume --stop-after {done + 1}. "
            f"Otherwise give it its own data and batch_size."
        )
    if done >= epochs:
        raise ValueError(
            f"{folder} has {done} epochs and this run will have {epochs}: nothing is "
            f"left to run. Set epochs to more."
        )


def _resized(values: Array, epochs: int) -> Array:
    """Numbers of each epoch, [E], in the length of another number of epochs."""
    kept = values[:epochs]
    return jnp.concatenate([kept, jnp.zeros((epochs - len(kept),), values.dtype)])


def write_beginning(run: loop.RetrainRun, start: RetrainStart) -> None:
    """Writes the records and the checkpoint that a run takes over from another.

    After that the other run is not needed any more.
    """
    if run.folder is None or not start.records:
        return
    metrics = run.folder / "metrics.jsonl"
    records.keep_before(metrics, 0)
    for record in start.records:
        records.append(metrics, record)
    loop.save(run, start.state)
