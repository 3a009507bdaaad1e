"""Runs several searches as one program until each of them has ended.

`training.member_turns` says which of them advance together; a turn is an epoch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from egnas_jax.search import loop
from egnas_jax.search.member_epochs import (
    EpochEnd,
    SearchBatch,
    make_batch,
    run_epoch,
    stacked,
)
from egnas_jax.search.members import Member, MemberPrograms
from egnas_jax.search.search_run import Progress
from egnas_jax.search.state import SearchState
from egnas_jax.training.member_turns import MemberEnd, Turn, Work, take_turns
from egnas_jax.types import Array

__all__ = ["Engine", "MemberEnd", "on_host", "search_members"]


class Engine(NamedTuple):
    """What computes the epochs of several searches.

    Attributes:
      images: the pool and its labels, on the device.
      programs: compiled ones, of `width` members.
      width: members of the programs.
    """

    images: tuple[Array, Array]
    programs: MemberPrograms
    width: int


def search_members(
    engine: Engine | None,
    members: Sequence[Member],
    starts: Sequence[MemberEnd],
    last: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[MemberEnd]:
    """Runs every search until `last` epochs are done; writes what `loop.search` writes.

    Args:
      engine: the engine of these searches; None where no epoch is left.
      members: the searches, in the order of their slots; at most `engine.width`.
      starts: where each begins, a `Progress`, with the records of its earlier epochs.
      last: epochs that are done at the end.
      interrupted: called after each call of the device; True ends the run.

    Raises:
      Interrupted: `interrupted()` returned True; a checkpoint of each search was
        written.
      OSError: a file could not be written; the last checkpoints are whole.
    """

    def place(progress: Progress) -> tuple[int, int] | None:
        state = progress.state
        epoch = int(state.epoch)
        return None if epoch >= last else (epoch, int(state.step))

    def begin(progresses: Mapping[int, Progress]) -> tuple[SearchBatch, SearchState]:
        together = {index: members[index] for index in progresses}
        batch = make_batch(engine.programs, engine.images, together, engine.width)
        return batch, stacked(batch, list(progresses.values()))

    def advance(carried, progresses: Mapping[int, Progress]):
        batch, state = carried
        metrics = [progress.metrics for progress in progresses.values()]
        state, ends = run_epoch(batch, state, metrics, interrupted)
        return (batch, state), list(map(_turn, ends))

    def write(index: int, turn: Turn) -> None:
        for record in turn.records:
            loop.write_epoch(members[index].run, turn.progress, record)

    def note(index: int, error: FloatingPointError) -> None:
        members[index].run.log(f"{_name(members[index])}: {error}")

    work = Work(place, begin, advance, write, note, interrupted)
    return take_turns(work, starts)


def _turn(end: EpochEnd) -> Turn:
    return Turn(end.progress, () if end.record is None else (end.record,), end.error)


def _name(member: Member) -> str:
    run = member.run
    return str(run.folder or f"The search with seed {run.hyperparams.seed}")


def on_host(progress: Progress) -> Progress:
    """Returns a progress with the arrays of its state on the host."""
    return progress._replace(state=jax.device_get(progress.state))
