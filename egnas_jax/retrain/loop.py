"""Runs a retraining: device calls, evaluations, records and checkpoints.

Without a run directory nothing is written, and only the callback gets the records.
"""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.nn.network import Network
from egnas_jax.retrain.config import RetrainConfig, drop_path, learning_rate
from egnas_jax.retrain.input_pipeline import InputPipeline
from egnas_jax.retrain.predict import predict
from egnas_jax.retrain.scores import score
from egnas_jax.retrain.step import RetrainPrograms, RetrainState
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.interrupt import (
    SAVED,
    Interrupted,
    check_finite,
    flag_where_saved,
)
from egnas_jax.training.out_of_memory import out_of_memory_in
from egnas_jax.types import PyTree

# metrics of an evaluation, None in the records of the epochs between two evaluations
EVALUATED = (
    "valid_loss",
    "valid_accuracy",
    "test_loss",
    "test_error",
    "test_accuracy_top5",
    "digest",
)


class RetrainRun(NamedTuple):
    """A retraining that is ready to run.

    Attributes:
      folder: run directory, or None to write nothing.
      config, net: how the network is trained, and the network.
      programs, pipeline: the compiled functions, and the training batches.
      valid: images held out of the training images, or None where all of them train.
      test: the test images; nothing is chosen by them.
      on_epoch: called with the record of each epoch.
      on_steps: called with the number of weight steps that are begun in an epoch, and
        that of all its steps, after each call of the device.
      log: called with messages for the user.
    """

    folder: pathlib.Path | None
    config: RetrainConfig
    net: Network
    programs: RetrainPrograms
    pipeline: InputPipeline
    valid: LabelledImages | None
    test: LabelledImages
    on_epoch: Callable[[dict], Any]
    on_steps: Callable[[int, int], Any]
    log: Callable[[str], Any]


def restore_newest(run: RetrainRun) -> tuple[RetrainState | None, tuple[str, ...]]:
    """The newest valid checkpoint, and a note for each newer one that is damaged.

    The state is None where there is no valid checkpoint. Nothing is changed.
    """
    layout = jax.eval_shape(run.programs.init)
    try:
        restored = checkpoint.restore(run.folder / "checkpoints", layout)
    except checkpoint.NoCheckpointError as error:
        return None, error.notes
    return restored.tree, restored.notes


def state_digest(state: RetrainState) -> str:
    """Sha256 over weights and batch_stats: equal digests mean equal networks."""
    return checkpoint.digest(state.variables)


def last_step(run: RetrainRun, stop_after: int | None) -> int:
    """The step before which training ends.

    Args:
      run: the retraining.
      stop_after: epochs after which it ends early, or None.
    """
    epochs = run.config.epochs if stop_after is None else stop_after
    return min(epochs, run.config.epochs) * run.pipeline.num_steps


def train(
    run: RetrainRun, state: RetrainState, stop_after: int | None = None
) -> RetrainState:
    """Runs epochs until the schedule ends, or until `stop_after` epochs are done.

    Raises:
      Interrupted: SIGINT or SIGTERM arrived, and a checkpoint was written. Without a
        run directory there is nothing to write, and both act at once.
      FloatingPointError: a loss is NaN or infinite; names epoch and last checkpoint.
      OutOfMemoryError: names the program.
      OSError: a file could not be written; the last checkpoint is whole.
    """
    steps, step, last = (
        run.pipeline.num_steps,
        int(state.step),
        last_step(run, stop_after),
    )
    if step >= last:
        return state
    first_epoch = num_recorded(run, step)
    if run.folder is not None:
        records.keep_before(run.folder / "metrics.jsonl", first_epoch)
    started, first_step = time.perf_counter(), step
    interrupted = None
    with contextlib.ExitStack() as stack:
        while step < last:
            goal = min(next_evaluation(run, step), last)
            stop = min(step + run.config.steps_per_call, goal)
            with out_of_memory_in("train"):
                state, step = run_steps(run, state, step, stop), stop
                run.on_steps((step - 1) % steps + 1, steps)
                # The first call compiles, for minutes; a signal need not wait for that.
                interrupted = interrupted or stack.enter_context(
                    flag_where_saved(run.folder, run.log)
                )
                if step == goal:
                    jax.block_until_ready(state)
            if step == goal:
                seconds = (time.perf_counter() - started) / (step - first_step) * steps
                _record_epochs(run, state, first_epoch, seconds)
                started, first_step = time.perf_counter(), step
                first_epoch = step // steps
            if step == goal or interrupted():
                save(run, state)
            if interrupted():
                raise Interrupted(SAVED)
    return state


def num_recorded(run: RetrainRun, step: int) -> int:
    """Number of epochs whose records precede a checkpoint of that step."""
    epoch = step // run.pipeline.num_steps
    every = run.config.evaluate_every
    return epoch if epoch == run.config.epochs else epoch // every * every


def next_evaluation(run: RetrainRun, step: int) -> int:
    """The step that ends the next epoch with an evaluation, at most the last epoch."""
    epoch, every = step // run.pipeline.num_steps, run.config.evaluate_every
    epochs = min((epoch // every + 1) * every, run.config.epochs)
    return epochs * run.pipeline.num_steps


def run_steps(
    run: RetrainRun, state: RetrainState, start: int, stop: int
) -> RetrainState:
    """Runs the steps from `start` to `stop` (exclusive) in one call of the device."""
    learning_rates, drop_paths = step_schedules(run, start, stop)
    return run.programs.train(
        state,
        run.pipeline.load(start, stop - start, run.config.steps_per_call),
        count=jnp.int32(stop - start),
        learning_rates=learning_rates,
        drop_paths=drop_paths,
    )


def step_schedules(
    run: RetrainRun, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the learning rate and the drop path of each place of a call, f32[S].

    Args:
      run: the retraining.
      start, stop: the steps of the call; places beyond them are padding.
    """
    size, steps = run.config.steps_per_call, run.pipeline.num_steps
    epochs = [min(step, stop - 1) // steps for step in range(start, start + size)]
    learning_rates, drop_paths = (
        np.asarray([schedule(run.config, epoch) for epoch in epochs], np.float32)
        for schedule in (learning_rate, drop_path)
    )
    return learning_rates, drop_paths


def save(run: RetrainRun, state: RetrainState) -> None:
    """Writes a checkpoint under the number of the next step, given a run directory."""
    if run.folder is None:
        return
    step = int(state.step)
    meta = {"epoch": step // run.pipeline.num_steps}
    folder = run.folder / "checkpoints"
    checkpoint.save(folder, step, state, meta, keep=run.config.keep_checkpoints)


# (images of a part of the data) -> their logits f32[N, K]
LogitsOf = Callable[[LabelledImages], np.ndarray]


def logits_of(run: RetrainRun, variables: PyTree) -> LogitsOf:
    """Returns the function that computes the logits of a network."""

    def compute(part: LabelledImages) -> np.ndarray:
        with out_of_memory_in("evaluate"):
            return predict(run.programs.logits, variables, part.images)

    return compute


def _record_epochs(
    run: RetrainRun, state: RetrainState, first_epoch: int, seconds: float
) -> None:
    """Writes and reports the records of the epochs that have ended since the last."""
    compute = logits_of(run, state.variables)
    for record in epoch_records(run, state, first_epoch, compute):
        write_record(run, record | {"seconds": seconds})


def write_record(run: RetrainRun, record: dict) -> None:
    """Writes the record of an epoch where there is a directory, and reports it."""
    if run.folder is not None:
        records.append(run.folder / "metrics.jsonl", record)
    run.on_epoch(record)


def epoch_records(
    run: RetrainRun, state: RetrainState, first_epoch: int, compute: LogitsOf
) -> Iterator[dict]:
    """Yields records of the epochs that a state ends, except their time.

    Only the last of them is evaluated.

    Args:
      run: the retraining.
      state: the state at the end of an epoch.
      first_epoch: the first one to record.
      compute: of the network of the state.

    Raises:
      FloatingPointError: a loss is NaN or infinite; names epoch and last checkpoint.
    """
    steps, config = run.pipeline.num_steps, run.config
    done = int(state.step) // steps
    losses, correct = np.asarray(state.losses), np.asarray(state.correct)
    for epoch in range(first_epoch, done):
        loss = float(losses[epoch]) / steps
        check_finite(run.folder, epoch, "training", loss)
        metrics = dict.fromkeys(EVALUATED)
        if epoch == done - 1:
            metrics |= _evaluation(run, state, epoch, compute)
        yield {
            "epoch": epoch,
            "train_loss": loss,
            "train_accuracy": int(correct[epoch]) / (steps * config.batch_size),
            "learning_rate": learning_rate(config, epoch),
            "drop_path": drop_path(config, epoch),
            **metrics,
        }


def _evaluation(
    run: RetrainRun, state: RetrainState, epoch: int, compute: LogitsOf
) -> dict:
    """Metrics of the validation images, if there are any, and of the test images."""
    metrics = {}
    if run.valid is not None:
        valid = score(compute(run.valid), run.valid.labels)
        check_finite(run.folder, epoch, "validation", valid.loss)
        metrics = {"valid_loss": valid.loss, "valid_accuracy": 1 - valid.error}
    test = score(compute(run.test), run.test.labels)
    check_finite(run.folder, epoch, "test", test.loss)
    return metrics | {
        "test_loss": test.loss,
        "test_error": test.error,
        "test_accuracy_top5": test.top5 / test.n,
        "digest": state_digest(state),
    }
