"""Trains several networks as one program until each of them has ended.

`training.member_turns` says which of them advance together. A turn is the epochs up to
the next evaluation, as in `retrain.loop`.

Dims: M members, N images, K classes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.retrain import loop
from egnas_jax.retrain.loop import RetrainRun
from egnas_jax.retrain.members import (
    MemberPrograms,
    inputs_of,
    stack_states,
    state_of,
)
from egnas_jax.retrain.predict import predict
from egnas_jax.retrain.step import RetrainState
from egnas_jax.storage import records
from egnas_jax.training.interrupt import SAVED, Interrupted
from egnas_jax.training.member_axis import filled_up
from egnas_jax.training.member_turns import MemberEnd, Turn, Work, take_turns
from egnas_jax.training.out_of_memory import out_of_memory_in


class Group(NamedTuple):
    """Retrainings that advance together.

    Attributes:
      runs: the retrainings, by their slots, each below M.
      filled: of all M slots, some of which hold copies.
      programs: of M members.
      last: the step before which they end.
      interrupted: called after each call of the device; True ends the run.
    """

    runs: dict[int, RetrainRun]
    filled: list[RetrainRun]
    programs: MemberPrograms
    last: int
    interrupted: Callable[[], bool]


def train_members(
    programs: MemberPrograms | None,
    width: int,
    runs: Sequence[RetrainRun],
    starts: Sequence[MemberEnd],
    last: int,
    *,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[MemberEnd]:
    """Trains every network until `last` steps are done; writes what `loop.train` does.

    Args:
      programs: compiled ones, of `width` members; None where no step is left.
      width: M.
      runs: the retrainings, in the order of their slots; at most M.
      starts: where each begins, a `RetrainState`, with the records before it.
      last: steps that are done at the end, see `loop.last_step`.
      interrupted: called after each call of the device; True ends the run.

    Raises:
      Interrupted: `interrupted()` returned True; a checkpoint of each was written.
      OutOfMemoryError: names the program.
      OSError: a file could not be written; the last checkpoints are whole.
    """

    def place(state: RetrainState) -> tuple[int] | None:
        step = int(state.step)
        return None if step >= last else (step,)

    def begin(states: Mapping[int, RetrainState]) -> tuple[Group, RetrainState]:
        active = {index: runs[index] for index in states}
        filled = filled_up(active, width)
        together = stack_states(programs.mesh, filled_up(states, width))
        return Group(active, filled, programs, last, interrupted), together

    def advance(carried: tuple[Group, RetrainState], states):
        group, state = carried
        state, turns = run_turn(group, state)
        return (group, state), turns

    def write(index: int, turn: Turn) -> None:
        for record in turn.records:
            loop.write_record(runs[index], record)
        if turn.error is None:
            loop.save(runs[index], turn.progress)

    def note(index: int, error: FloatingPointError) -> None:
        run = runs[index]
        run.log(f"{run.folder or f'The training of seed {run.config.seed}'}: {error}")

    for run, start in zip(runs, starts, strict=True):
        step = int(start.progress.step)
        if run.folder is not None and step < last:
            first = loop.num_recorded(run, step)
            records.keep_before(run.folder / "metrics.jsonl", first)
    return take_turns(Work(place, begin, advance, write, note, interrupted), starts)


def run_turn(group: Group, state: RetrainState) -> tuple[RetrainState, list[Turn]]:
    """Trains all members up to the next evaluation, or to the end, and evaluates them.

    Args:
      group: the retrainings.
      state: of M members, as `stack_states` makes it; it is donated.

    Returns:
      The state on the devices, and how the turn ended for each retraining.

    Raises:
      Interrupted: `interrupted()` returned True within the turn; a checkpoint of each
        retraining was written first.
    """
    started, step = time.perf_counter(), int(state.step)
    first, any_run = step, group.filled[0]
    goal = min(loop.next_evaluation(any_run, step), group.last)
    while step < goal:
        stop = min(step + any_run.config.steps_per_call, goal)
        with out_of_memory_in("train"):
            state, step = _run_steps(group, state, step, stop), stop
            if step == goal:
                jax.block_until_ready(state)
        if step < goal and group.interrupted():
            _save_all(group, jax.device_get(state), step)
            raise Interrupted(SAVED)
    share = (time.perf_counter() - started) / len(group.runs)
    seconds = share / (goal - first) * any_run.pipeline.num_steps
    return state, _turns(group, state, loop.num_recorded(any_run, first), seconds)


def _run_steps(
    group: Group, state: RetrainState, start: int, stop: int
) -> RetrainState:
    """The steps from `start` to `stop` (exclusive) in one call of the device."""
    size = group.filled[0].config.steps_per_call
    batches = {
        index: run.pipeline.load(start, stop - start, size)
        for index, run in group.runs.items()
    }
    loaded = filled_up(batches, len(group.filled))
    return group.programs.train(
        state,
        group.filled[0].pipeline.joined.stack(loaded),
        inputs_of(group.filled, start, stop),
        np.int32(stop - start),
    )


def _save_all(group: Group, states: RetrainState, step: int) -> None:
    """Writes a checkpoint of each retraining whose losses are finite so far."""
    epoch = (step - 1) // group.filled[0].pipeline.num_steps
    for index, run in group.runs.items():
        member = state_of(states, index)
        if np.all(np.isfinite(member.losses[: epoch + 1])):
            loop.save(run, member)


def _turns(
    group: Group, state: RetrainState, first_epoch: int, seconds: float
) -> list[Turn]:
    """How a turn ended for each retraining, at the end of an epoch."""
    test, valid = (
        part and _logits_of_all(group, state, part)
        for part in (group.filled[0].test, group.filled[0].valid)
    )
    states, turns = jax.device_get(state), []
    for index, run in group.runs.items():

        def logits(part: LabelledImages, run=run, index=index) -> np.ndarray:
            return (test if part is run.test else valid)[index]

        member, lines, error = state_of(states, index), [], None
        try:
            for record in loop.epoch_records(run, member, first_epoch, logits):
                lines.append(record | {"seconds": seconds})
        except FloatingPointError as caught:
            member, error = None, caught
        turns.append(Turn(member, tuple(lines), error))
    return turns


def _logits_of_all(
    group: Group, state: RetrainState, part: LabelledImages
) -> np.ndarray:
    """Logits f32[M, N, K] of all networks on the images that all of them share."""
    with out_of_memory_in("evaluate"):
        return predict(group.programs.logits, state.variables, part.images)
