"""Runs several searches as one program until each of them has ended.

A search leaves its place in the programs to a copy of another one when its last epoch
is done, or when its loss is not finite; the others do not notice. Where searches are
not in the same step, after a kill, those behind come first until they have caught up.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from egnas_jax.search import loop
from egnas_jax.search.loop import Progress
from egnas_jax.search.member_epochs import Batch, make_batch, run_epoch, stacked
from egnas_jax.search.members import Member, MemberPrograms
from egnas_jax.search.step import SearchState
from egnas_jax.training.interrupt import SAVED, Interrupted
from egnas_jax.types import Array


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


class MemberEnd(NamedTuple):
    """Where a search of a batch ended.

    Attributes:
      progress: after its last whole epoch, arrays of the host.
      records: of all its epochs.
      error: what ended it early, or None.
    """

    progress: Progress
    records: list[dict]
    error: FloatingPointError | None = None


def search_members(
    engine: Engine | None,
    members: Sequence[Member],
    starts: Sequence[MemberEnd],
    last: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[MemberEnd]:
    """Runs every search until `last` epochs are done; writes what `loop.search` writes.

    Args:
      engine: of these searches; None where no epoch is left.
      members: the searches, in the order of their slots; at most `engine.width`.
      starts: where each begins, with the records of its earlier epochs.
      last: epochs that are done at the end.
      interrupted: called after each call of the device; True ends the run.

    Raises:
      Interrupted: `interrupted()` returned True; a checkpoint of each search was
        written.
      OSError: a file could not be written; the last checkpoints are whole.
    """
    ends, together = list(starts), ()
    batch: Batch | None = None
    state: SearchState | None = None
    while behind := _furthest_behind(ends, last):
        if behind != together:
            together = behind
            own = {index: members[index] for index in together}
            batch = make_batch(engine.programs, engine.images, own, engine.width)
            state = stacked(batch, [ends[index].progress for index in together])
        metrics = [ends[index].progress.info for index in together]
        state, epoch_ends = run_epoch(batch, state, metrics, interrupted)
        for index, end in zip(together, epoch_ends, strict=True):
            if end.error is not None:
                ends[index] = ends[index]._replace(error=end.error)
                members[index].run.log(f"{_name(members[index])}: {end.error}")
                continue
            lines = [*ends[index].records, end.record]
            ends[index] = MemberEnd(end.progress, lines)
            loop.write_epoch(members[index].run, end.progress, end.record)
        if interrupted():
            raise Interrupted(SAVED)
    return ends


def _name(member: Member) -> str:
    run = member.run
    return str(run.folder or f"The search with seed {run.hyperparams.seed}")


def _furthest_behind(ends: Sequence[MemberEnd], last: int) -> tuple[int, ...]:
    """The searches that have come least far of those that go on; () at the end."""
    places = {
        index: (int(end.progress.state.epoch), int(end.progress.state.step))
        for index, end in enumerate(ends)
        if end.error is None and int(end.progress.state.epoch) < last
    }
    least = min(places.values(), default=None)
    return tuple(index for index, place in places.items() if place == least)


def on_host(progress: Progress) -> Progress:
    """Returns a progress with the arrays of its state on the host."""
    return progress._replace(state=jax.device_get(progress.state))
