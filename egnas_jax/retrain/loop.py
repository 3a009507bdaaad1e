"""The retraining on the host: calls, evaluations, records, checkpoints."""

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.nn.network import Network
from egnas_jax.retrain.config import RetrainConfig, drop_path, learning_rate
from egnas_jax.retrain.input_pipeline import Feed
from egnas_jax.retrain.predict import predict
from egnas_jax.retrain.scores import Scores, score
from egnas_jax.retrain.step import Programs, RetrainState
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.interrupt import SAVED, Interrupted, InterruptFlag, check_finite
from egnas_jax.training.out_of_memory import out_of_memory_in
from egnas_jax.types import PyTree


class Run(NamedTuple):
    """Where and how a retraining runs.

    Attributes:
      folder: run directory.
      config, net: what is trained, and how.
      programs, feed: what runs, and on which images.
      valid: kept out of training, or None where all images train.
      test: nothing is chosen by it.
      report: called with each epoch's line, and with notes (`str`).
    """

    folder: pathlib.Path
    config: RetrainConfig
    net: Network
    programs: Programs
    feed: Feed
    valid: LabelledImages | None
    test: LabelledImages
    report: Callable


def newest(run: Run) -> tuple[RetrainState | None, tuple[str, ...]]:
    """The newest valid checkpoint, and a note for each newer damaged one.

    None where no checkpoint was finished or none is whole. Nothing is changed.
    """
    layout = jax.eval_shape(run.programs.init)
    try:
        found = checkpoint.restore(run.folder / "checkpoints", layout)
    except checkpoint.NoCheckpointError as error:
        return None, error.notes
    return found.tree, found.notes


def state_digest(state: RetrainState) -> str:
    """Sha256 over weights and statistics: equal digests, equal networks."""
    return checkpoint.digest(state.variables)


def train(run: Run, state: RetrainState, stop_after: int | None = None) -> RetrainState:
    """Runs epochs until the schedule ends, or `stop_after` epochs are done.

    Raises:
      Interrupted: SIGINT arrived; a checkpoint has been written.
      FloatingPointError: the loss is NaN or infinite, with epoch and last checkpoint.
      OutOfMemoryError: with the program's name.
      OSError: a file could not be written; the last checkpoint is whole.
    """
    steps, step = run.feed.num_steps, int(state.step)
    last = run.config.epochs if stop_after is None else stop_after
    last = min(last, run.config.epochs) * steps
    if step >= last:
        return state
    metrics = run.folder / "metrics.jsonl"
    records.keep_before(metrics, recorded(run, step))
    started, begun, first = time.perf_counter(), step, recorded(run, step)
    with InterruptFlag(run.report) as interrupted:
        while step < last:
            goal = min(_next_evaluation(run, step), last)
            stop = min(step + run.config.steps_per_call, goal)
            with out_of_memory_in("train"):
                state, step = call(run, state, step, stop), stop
                if step == goal:
                    jax.block_until_ready(state)
            if step == goal:
                pace = (time.perf_counter() - started) / (step - begun) * steps
                for line in _lines(run, state, first, pace):
                    records.append(metrics, line)
                    run.report(line)
                started, begun, first = time.perf_counter(), step, step // steps
            if step == goal or interrupted():
                save(run, state)
            if interrupted():
                raise Interrupted(SAVED)
    return state


def recorded(run: Run, step: int) -> int:
    """Epochs whose records a checkpoint of that step stands on: up to an evaluation."""
    epoch = step // run.feed.num_steps
    every = run.config.evaluate_every
    return epoch if epoch == run.config.epochs else epoch // every * every


def _next_evaluation(run: Run, step: int) -> int:
    """The step that ends the next epoch with an evaluation; the last epoch has one."""
    epoch, every = step // run.feed.num_steps, run.config.evaluate_every
    epochs = min((epoch // every + 1) * every, run.config.epochs)
    return epochs * run.feed.num_steps


def call(run: Run, state: RetrainState, start: int, stop: int) -> RetrainState:
    """The steps from `start` to `stop` (excluded) in one call of the device."""
    size = run.config.steps_per_call
    epochs = [
        min(step, stop - 1) // run.feed.num_steps for step in range(start, start + size)
    ]
    rates, drops = (
        jnp.asarray([schedule(run.config, epoch) for epoch in epochs], jnp.float32)
        for schedule in (learning_rate, drop_path)
    )
    chunk = run.feed.chunk(start, stop - start, size)
    return run.programs.train(state, chunk, jnp.int32(stop - start), rates, drops)


def save(run: Run, state: RetrainState) -> None:
    """One checkpoint; its step counts weight steps."""
    step = int(state.step)
    meta = {"epoch": step // run.feed.num_steps}
    folder = run.folder / "checkpoints"
    checkpoint.save(folder, step, state, meta, keep=run.config.keep_checkpoints)


def evaluate(run: Run, variables: PyTree, part: LabelledImages) -> Scores:
    """Scores on a part of the data."""
    size = run.config.eval_batch_size
    with out_of_memory_in("evaluate"):
        logits = predict(run.programs.logits, variables, part.images, size)
    return score(logits, part.labels)


def _lines(run: Run, state: RetrainState, first: int, seconds: float):
    """Records of the epochs that a state ends; only its last one was evaluated."""
    steps, config = run.feed.num_steps, run.config
    done = int(state.step) // steps
    losses, correct = np.asarray(state.losses), np.asarray(state.correct)
    for epoch in range(first, done):
        loss = float(losses[epoch]) / steps
        check_finite(run.folder, epoch, "training", loss)
        line = {
            "epoch": epoch,
            "train_loss": loss,
            "train_accuracy": int(correct[epoch]) / (steps * config.batch_size),
            "learning_rate": learning_rate(config, epoch),
            "drop_path": drop_path(config, epoch),
        }
        line |= _evaluation(run, state, epoch if epoch == done - 1 else None)
        yield line | {"seconds": seconds}


def _evaluation(run: Run, state: RetrainState, epoch: int | None) -> dict:
    """Figures of an epoch's end, or None in their places where it was run past."""
    figures = dict.fromkeys(
        (
            "valid_loss",
            "valid_accuracy",
            "test_loss",
            "test_error",
            "test_accuracy_top5",
            "digest",
        )
    )
    if epoch is None:
        return figures
    if run.valid is not None:
        valid = evaluate(run, state.variables, run.valid)
        check_finite(run.folder, epoch, "validation", valid.loss)
        figures |= {"valid_loss": valid.loss, "valid_accuracy": 1 - valid.error}
    test = evaluate(run, state.variables, run.test)
    check_finite(run.folder, epoch, "test", test.loss)
    figures |= {"test_loss": test.loss, "test_error": test.error}
    figures |= {"test_accuracy_top5": test.top5 / test.n}
    return figures | {"digest": state_digest(state)}
