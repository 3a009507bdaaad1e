"""Runs epochs of several searches on the host, as `search.loop` does for one.

The programs of a batch always have M slots. Where fewer searches take part, because
some have ended or are ahead, copies of the first one fill the other slots: no slot
depends on another, and the same slot of the same programs gives a search the same bits
in every company. Slots may differ in rounding, since a compiler computes the last
elements of an array by other instructions; so a search keeps its slot.

Dims: M slots, N images of the pool, H, W height and width in pixels, C channels.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.search import loop
from egnas_jax.search.epoch import evolve_order, rate_of_epoch
from egnas_jax.search.members import (
    DATA_AXES,
    Member,
    MemberHyperparams,
    MemberPrograms,
    MembersData,
    stack_hyperparams,
    stack_states,
    state_of,
)
from egnas_jax.search.search_run import Progress
from egnas_jax.search.state import SearchState, Totals
from egnas_jax.storage import records
from egnas_jax.training.interrupt import SAVED, Interrupted, check_finite
from egnas_jax.training.member_axis import filled_up, put
from egnas_jax.training.out_of_memory import out_of_memory_in
from egnas_jax.types import Array, PyTree


class SearchBatch(NamedTuple):
    """Searches that advance together.

    Attributes:
      members: M at most; all have the shapes of the first.
      slots: of the members, each below M.
      programs: of M members.
      data: of M members.
      hyperparams: of M members, with the learning rates of any epoch.
    """

    members: tuple[Member, ...]
    slots: tuple[int, ...]
    programs: MemberPrograms
    data: MembersData
    hyperparams: MemberHyperparams


class EpochEnd(NamedTuple):
    """How an epoch of one member ended.

    Attributes:
      progress: after the epoch, arrays of the host; None after an error.
      record: of the epoch; None after an error.
      error: a loss is NaN or infinite.
    """

    progress: Progress | None
    record: dict | None
    error: FloatingPointError | None = None


class Running(NamedTuple):
    """A batch within an epoch.

    Attributes:
      state: of M members, on the device.
      metrics: of each search's last update of the method, {} before it.
      errors: index of a member -> what ended it.
    """

    state: SearchState
    metrics: tuple[dict, ...]
    errors: dict[int, FloatingPointError]


def make_batch(
    programs: MemberPrograms,
    images: tuple[Array, Array],
    members: Mapping[int, Member],
    width: int,
) -> SearchBatch:
    """Makes a batch of M slots, some of which hold copies.

    Args:
      programs: of M members.
      images: the pool and its labels, u8[N, H, W, C] and i32[N], of the
        host or of the device.
      members: slot -> search, 1 to M of them.
      width: M.
    """
    filled = filled_up(members, width)
    data = MembersData(
        *images,
        train=np.stack([member.train for member in filled]),
        valid=np.stack([member.valid for member in filled]),
        scale=np.stack([member.scale for member in filled]),
    )
    return SearchBatch(
        members=tuple(members.values()),
        slots=tuple(members),
        programs=programs,
        data=put(programs.mesh, data, DATA_AXES),
        hyperparams=stack_hyperparams(filled),
    )


def stacked(batch: SearchBatch, starts: Sequence[Progress]) -> SearchState:
    """The states of the searches, and of the copies, as the programs take them."""
    return stack_states(_in_slots(batch, [start.state for start in starts]))


def _in_slots(batch: SearchBatch, entries: Sequence) -> list:
    """One entry for each slot, of one for each search."""
    return filled_up(
        dict(zip(batch.slots, entries, strict=True)), len(batch.data.train)
    )


def run_epoch(
    batch: SearchBatch,
    state: SearchState,
    metrics: Sequence[dict],
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[SearchState, list[EpochEnd]]:
    """Runs one epoch of all members, or the rest of one.

    Its order is that of `loop.run_epoch`, and of `SearchFunctions.epoch` in
    `search.functions`.

    Args:
      batch: the searches.
      state: of M members, as `stacked` makes it; it is donated.
      metrics: of each search's last update of the method, `Progress.metrics`.
      interrupted: called after each call of the device; True ends the run.

    Returns:
      The state of M members on the device after the epoch, and how the epoch ended for
      each search of the batch.

    Raises:
      Interrupted: `interrupted()` returned True; a checkpoint of each search was
        written first.
    """
    started = time.perf_counter()
    epoch = int(state.epoch)
    batch, rates = _in_epoch(batch, epoch)
    problem = batch.members[0].run.problem
    evolves_before, evolves_after = evolve_order(problem)
    running = Running(state, tuple(metrics), {})
    if evolves_before and int(state.step) == 0:
        running = _evolve(batch, running)
    running, totals = _weight_steps(batch, running, interrupted)
    if evolves_after:
        running = _evolve(batch, running)
    with out_of_memory_in("validate"):
        scores = batch.programs.validate(batch.data, batch.hyperparams, running.state)
        scores = jax.tree.map(np.asarray, scores)
    running = _checked(batch, running, "validation", (epoch, scores.loss))
    described = jax.tree.map(np.asarray, batch.programs.describe(running.state))
    state = _next_epoch(running.state)
    measured = _Measured(rates, totals, scores, *described)
    ends = _epoch_ends(batch, running._replace(state=state), epoch, measured)
    share = (time.perf_counter() - started) / len(batch.members)
    return state, [_with_seconds(end, share) for end in ends]


class _Measured(NamedTuple):
    """What an epoch measured of M members, see `loop.Measured`; leaves [M, ...]."""

    learning_rates: list[float]
    totals: Totals
    scores: PyTree
    mixings: PyTree
    metrics: dict[str, np.ndarray]


def _in_epoch(batch: SearchBatch, epoch: int) -> tuple[SearchBatch, list[float]]:
    """The batch with the learning rates of an epoch, and these."""
    rates = [rate_of_epoch(member.run.problem, epoch) for member in batch.members]
    filled = np.float32(_in_slots(batch, rates))
    search = batch.hyperparams.search.replace(learning_rate=filled)
    return batch._replace(hyperparams=batch.hyperparams.replace(search=search)), rates


def _evolve(batch: SearchBatch, running: Running) -> Running:
    """The once-an-epoch update, its metrics on the host."""
    with out_of_memory_in("evolve"):
        evolve = batch.programs.evolve
        state, metrics = evolve(batch.data, batch.hyperparams, running.state)
        metrics = jax.tree.map(np.asarray, metrics)
    own = tuple(_of_member(metrics, slot) for slot in batch.slots)
    return running._replace(state=state, metrics=own)


def _of_member(metrics: dict[str, np.ndarray], index: int) -> dict:
    return loop.metrics_on_host({name: v[index] for name, v in metrics.items()})


def _weight_steps(
    batch: SearchBatch, running: Running, interrupted: Callable[[], bool]
) -> tuple[Running, Totals]:
    """The epoch's remaining weight steps; totals [M] on the host."""
    run, unread = batch.members[0].run, None
    step, epoch = int(running.state.step), int(running.state.epoch)
    totals = jax.tree.map(np.asarray, running.state.totals)
    check = functools.partial(_checked_totals, batch, epoch=epoch)
    while step < run.num_steps:
        stop = min(step + run.steps_per_call, run.num_steps)
        span = np.int32(step), np.int32(stop)
        with out_of_memory_in("train"):
            state, new = batch.programs.train(
                batch.data, batch.hyperparams, running.state, span
            )
            running = running._replace(state=state)
            if unread is not None:  # read while the device works on the next call
                running, _ = check(running, unread)
        step, unread = stop, new
        if interrupted():
            running, _ = check(running, unread)
            _save_all(batch, running)
            raise Interrupted(SAVED)
    if unread is not None:
        running, totals = check(running, unread)
    return running, totals


def _checked_totals(
    batch: SearchBatch, running: Running, totals: Totals, *, epoch: int
) -> tuple[Running, Totals]:
    totals = jax.tree.map(np.asarray, totals)
    return _checked(batch, running, "training", (epoch, totals.loss)), totals


def _checked(
    batch: SearchBatch, running: Running, which: str, measured: tuple[int, np.ndarray]
) -> Running:
    """Notes which searches have ended because a loss is not finite.

    Args:
      batch, running: the searches.
      which: "training" or "validation".
      measured: the epoch, and the losses [M].
    """
    errors, (epoch, losses) = dict(running.errors), measured
    for index, member in enumerate(batch.members):
        try:
            check_finite(
                member.run.folder, epoch, which, float(losses[batch.slots[index]])
            )
        except FloatingPointError as error:
            errors.setdefault(index, error)
    return running._replace(errors=errors)


def _save_all(batch: SearchBatch, running: Running) -> None:
    """Writes a checkpoint of each search that has not ended."""
    states = jax.device_get(running.state)
    for index, member in enumerate(batch.members):
        if index not in running.errors:
            state = state_of(states, batch.slots[index])
            own = Progress(state, running.metrics[index])
            loop.save(member.run, own)


def _next_epoch(state: SearchState) -> SearchState:
    """The states between two epochs."""
    return state.replace(
        epoch=np.int32(int(state.epoch) + 1),
        step=np.int32(0),
        totals=jax.tree.map(lambda leaf: np.zeros_like(leaf), state.totals),
    )


def _epoch_ends(
    batch: SearchBatch, running: Running, epoch: int, measured: _Measured
) -> list[EpochEnd]:
    """How an epoch ended for each search; `running` is between two epochs."""
    states, ends = jax.device_get(running.state), []
    for index, member in enumerate(batch.members):
        if index in running.errors:
            ends.append(EpochEnd(None, None, running.errors[index]))
            continue
        slot = batch.slots[index]
        of_state = _of_member(measured.metrics, slot)
        totals, scores, mixing = jax.tree.map(
            lambda leaf, slot=slot: leaf[slot],
            (measured.totals, measured.scores, measured.mixings),
        )
        own = loop.Measured(
            epoch=epoch,
            learning_rate=measured.learning_rates[index],
            totals=jax.tree.map(lambda leaf: leaf.item(), totals),
            scores=scores,
            metrics={**running.metrics[index], **of_state},
            mixing=mixing,
        )
        state = state_of(states, slot)
        record = loop.epoch_record(member.run, own)
        record["digest"] = loop.state_digest(state)
        ends.append(EpochEnd(Progress(state, {}), record))
    return ends


def _with_seconds(end: EpochEnd, seconds: float) -> EpochEnd:
    """The end with a search's share of the time, in the form of metrics.jsonl."""
    if end.record is None:
        return end
    return end._replace(record=records.plain(end.record | {"seconds": seconds}))
