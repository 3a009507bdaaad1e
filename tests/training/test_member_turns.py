"""Members of a batch take turns: those behind first, and each to its own end."""

import pytest

from egnas_jax.training.interrupt import Interrupted
from egnas_jax.training.member_turns import MemberEnd, Turn, Work, take_turns

LAST = 4


class Counting:
    """Members that count up; the progress of each is its count."""

    def __init__(self, *, fails=None, interrupted=lambda: False):
        self.fails, self.groups, self.written, self.notes = fails, [], [], []
        self.work = Work(
            place=lambda count: None if count >= LAST else (count,),
            begin=self.begin,
            advance=self.advance,
            write=lambda index, turn: self.written.append((index, turn.records)),
            note=lambda index, error: self.notes.append((index, str(error))),
            interrupted=interrupted,
        )

    def begin(self, counts):
        self.groups.append(tuple(counts))
        return dict(counts)

    def advance(self, carried, counts):
        assert carried == counts  # what was carried is what the members have
        turns = [self.turn(index, count) for index, count in counts.items()]
        return {i: t.progress for i, t in zip(counts, turns, strict=True)}, turns

    def turn(self, index, count):
        if (index, count) == self.fails:
            return Turn(
                None, ({"epoch": count},), FloatingPointError("the loss is nan")
            )
        return Turn(count + 1, ({"epoch": count},))


def ends_of(counting, *counts):
    starts = [MemberEnd(c, [{"epoch": e} for e in range(c)]) for c in counts]
    return take_turns(counting.work, starts)


def test_those_behind_come_first_until_they_have_caught_up():
    counting = Counting()
    ends = ends_of(counting, 2, 0, 2, 4, 1)
    assert counting.groups == [(1,), (1, 4), (0, 1, 2, 4)]
    assert [end.progress for end in ends] == [LAST] * 5
    for end in ends:
        assert end.records == [{"epoch": epoch} for epoch in range(LAST)]
    assert len(counting.written) == 2 + 4 + 2 + 0 + 3
    assert ends_of(Counting(), 4, 4)[0].error is None  # nothing is begun


def test_a_member_with_an_error_ends_and_the_others_go_on():
    counting = Counting(fails=(1, 2))
    ends = ends_of(counting, 0, 0, 0)
    assert counting.groups == [(0, 1, 2), (0, 2)]
    assert [end.progress for end in ends] == [LAST, 2, LAST]
    assert isinstance(ends[1].error, FloatingPointError)
    assert counting.notes == [(1, "the loss is nan")]
    assert [line["epoch"] for line in ends[1].records] == [0, 1, 2]  # of the turn too
    assert [end.error for end in ends[::2]] == [None, None]


def test_an_interruption_ends_after_a_turn_that_was_written():
    counting = Counting(interrupted=lambda: len(counting.written) >= 4)
    with pytest.raises(Interrupted):
        ends_of(counting, 0, 0)
    assert [index for index, _ in counting.written] == [0, 1, 0, 1]
