"""Runs the members of a batch on the host until each of them has ended.

A member leaves its place in the programs to a copy of another one when nothing is left
for it to do, or when its loss is not finite; the others do not notice. Where members
are not in the same step, after a kill, those behind come first until they have caught
up. What a turn computes, an epoch of a search for example, is up to the caller.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from egnas_jax.training.interrupt import SAVED, Interrupted


class MemberEnd(NamedTuple):
    """How far a member of a batch has come, or where it ended.

    Attributes:
      progress: after its last whole turn, arrays of the host.
      records: of all its epochs.
      error: what ended it early, or None.
    """

    progress: Any
    records: list[dict]
    error: FloatingPointError | None = None


class Turn(NamedTuple):
    """How a turn ended for one member.

    Attributes:
      progress: after the turn, arrays of the host; None after an error.
      records: of the epochs that ended in the turn; those before an error too.
      error: a loss is NaN or infinite.
    """

    progress: Any
    records: tuple[dict, ...]
    error: FloatingPointError | None = None


class Work(NamedTuple):
    """What the members of a batch do.

    Attributes:
      place: progress -> its place, a tuple that can be compared; None at the end.
      begin: progresses of the members that advance together, by their index -> what
        `advance` carries.
      advance: (what it carries, progresses as in `begin`) -> what it carries, and the
        turn of each of these members. Where `interrupted` ends it within a turn it
        raises `Interrupted` after it has written a checkpoint of each.
      write: (index, turn) writes the records and the checkpoint of a turn; the records
        alone after an error.
      note: (index, error) says that a member has ended.
      interrupted: called after each turn; True ends the run.
    """

    place: Callable[[Any], tuple | None]
    begin: Callable[[Mapping[int, Any]], Any]
    advance: Callable[[Any, Mapping[int, Any]], tuple[Any, Sequence[Turn]]]
    write: Callable[[int, Turn], None]
    note: Callable[[int, FloatingPointError], None]
    interrupted: Callable[[], bool] = lambda: False


def take_turns(work: Work, starts: Sequence[MemberEnd]) -> list[MemberEnd]:
    """Lets every member advance to its end.

    Args:
      work: what the members do.
      starts: where each begins, with the records of its earlier epochs.

    Raises:
      Interrupted: `work.interrupted()` returned True; a checkpoint of each member was
        written.
    """
    ends, together, carried = list(starts), (), None
    while behind := _furthest_behind(work, ends):
        progresses = {index: ends[index].progress for index in behind}
        if behind != together:
            together, carried = behind, work.begin(progresses)
        carried, turns = work.advance(carried, progresses)
        for index, turn in zip(together, turns, strict=True):
            work.write(index, turn)
            lines = [*ends[index].records, *turn.records]
            if turn.error is not None:
                ends[index] = MemberEnd(ends[index].progress, lines, turn.error)
                work.note(index, turn.error)
            else:
                ends[index] = MemberEnd(turn.progress, lines)
        if work.interrupted():
            raise Interrupted(SAVED)
    return ends


def _furthest_behind(work: Work, ends: Sequence[MemberEnd]) -> tuple[int, ...]:
    """The members that have come least far of those that go on; () at the end."""
    places = {
        index: place
        for index, end in enumerate(ends)
        if end.error is None and (place := work.place(end.progress)) is not None
    }
    least = min(places.values(), default=None)
    return tuple(index for index, place in places.items() if place == least)
