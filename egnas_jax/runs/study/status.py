"""Derives the state of every unit of a study from the files on disk.

The module does not import JAX, so that a worker that finds nothing to do ends at once.
"""

import pathlib
from collections.abc import MutableMapping, Sequence
from typing import NamedTuple

from egnas_jax.runs.study.study_file import Study, Unit
from egnas_jax.storage import claims
from egnas_jax.storage.claims import Event

READY, WAITING, RUNNING = "ready", "waiting", "running"
DONE, FAILED, BLOCKED = "done", "failed", "blocked"
STATES = (DONE, RUNNING, READY, WAITING, FAILED, BLOCKED)
ENDED = (DONE, FAILED, BLOCKED)


class UnitStatus(NamedTuple):
    """The state of a unit.

    Attributes:
      unit: the unit.
      folder: the folder with its events.
      state: DONE; RUNNING, a worker has claimed it; READY to be claimed; WAITING for a
        unit that it needs; FAILED as often as workers try it; BLOCKED by a unit that
        failed.
      events: its events, in order.
    """

    unit: Unit
    folder: pathlib.Path
    state: str
    events: Sequence[Event]

    @property
    def failures(self) -> int:
        """How often it failed."""
        return sum(event.kind == claims.FAILED for event in self.events)

    @property
    def message(self) -> str:
        """The message of its last failure, if that is why it is not done."""
        if self.state not in (READY, FAILED):
            return ""
        failures = [each for each in self.events if each.kind == claims.FAILED]
        return failures[-1].details.get("message", "") if failures else ""

    @property
    def process(self) -> str:
        """Who wrote the last event, "HOST:PID"; "" where there is none."""
        return self.events[-1].process if self.events else ""


def unit_statuses(
    study: Study,
    tries: int = 1,
    known: MutableMapping[pathlib.Path, list[Event]] | None = None,
) -> list[UnitStatus]:
    """Returns the state of each unit, in their order.

    Args:
      study: from `read_study`.
      tries: how often a unit may fail.
      known: folder -> events of units that are done, which never change; it is added
        to, so that those are read once.
    """
    known = {} if known is None else known
    states: dict[str, str] = {}
    statuses = []
    for index, unit in enumerate(study.units):
        folder = study.events_folder(index)
        events = known.get(folder) or claims.read_events(folder)
        state = _state(events, [states[run] for run in unit.needs], tries)
        if state == DONE:
            known[folder] = events
        states[unit.run] = state
        statuses.append(UnitStatus(unit, folder, state, events))
    return statuses


def _state(events: Sequence[Event], needs: Sequence[str], tries: int) -> str:
    last = events[-1].kind if events else None
    if last == claims.DONE:
        return DONE
    if last == claims.CLAIMED:
        return RUNNING
    if sum(event.kind == claims.FAILED for event in events) >= tries:
        return FAILED
    if any(state in (FAILED, BLOCKED) for state in needs):
        return BLOCKED
    if any(state != DONE for state in needs):
        return WAITING
    return READY


def epochs_done(study: Study, unit: Unit) -> int:
    """Returns the number of complete lines in the records of a unit's run."""
    try:
        content = (study.run_folder(unit) / "metrics.jsonl").read_bytes()
    except OSError:
        return 0
    return content.count(b"\n")
