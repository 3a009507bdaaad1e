"""Runs the units of a study, beside any number of other workers.

A worker takes the first unit that is ready, or one whose worker was lost, and runs it
to its end. Where others run what is left, it waits: they may be lost, and units that
need theirs become ready.
"""

import errno
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from egnas_jax.runs.study import status
from egnas_jax.runs.study.status import UnitStatus, unit_statuses
from egnas_jax.runs.study.study_file import Study, Unit, read_study
from egnas_jax.settings import check_whole
from egnas_jax.storage import claims
from egnas_jax.storage.claims import Claim, ClaimLostError, Event, Heartbeats
from egnas_jax.storage.fence import fenced
from egnas_jax.storage.lock import DirectoryTakenError

BEAT, STALE = 10.0, 120.0  # seconds
# Workers in a row that may be lost with a unit before it has another record. A unit
# that takes more memory than there is would otherwise end every worker of a study.
MOST_LOST = 5
# what a disk says that is full, over quota, read-only or broken
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

RunUnit = Callable[[Study, Unit], None]


class WorkerOptions(NamedTuple):
    """How a worker works.

    Attributes:
      tries: how often a unit may fail, of all workers together.
      units: end after so many units; None: no limit.
      idle: end after so many seconds without a unit; None: wait until all units are
        done, failed or blocked.
      beat: seconds between two heartbeats, and between two looks for work.
      stale: seconds without a heartbeat after which a worker counts as lost.
    """

    tries: int = 1
    units: int | None = None
    idle: float | None = None
    beat: float = BEAT
    stale: float = STALE

    def check(self) -> "WorkerOptions":
        """Returns the options themselves.

        Raises:
          ValueError: a value is out of range.
        """
        for name in ("tries", "units"):
            value = getattr(self, name)
            if value is not None:
                check_whole(name, value, 1)
        if self.idle is not None and not self.idle >= 0:
            raise ValueError(f"idle is {self.idle}, but must be at least 0 seconds.")
        if not self.beat > 0:
            raise ValueError(f"beat is {self.beat}, but must be above 0 seconds.")
        if not self.stale >= claims.MISSED * self.beat:
            raise ValueError(
                f"stale is {self.stale} and beat {self.beat} seconds, but a worker "
                f"must miss several beats to count as lost. Set stale to at least "
                f"{claims.MISSED * self.beat}."
            )
        return self


class Clock(NamedTuple):
    """What time it is, and how to wait."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class _Worker(NamedTuple):
    """What a worker remembers between units."""

    run_unit: RunUnit
    options: WorkerOptions
    log: Callable[[str], None]
    clock: Clock
    heartbeats: Heartbeats
    known: dict  # events of units that are done
    not_before: dict[str, float]  # run -> when to try a directory again that was taken


def run_units(
    study: Study,
    run_unit: RunUnit,
    options: WorkerOptions,
    log: Callable[[str], None],
    clock: Clock = Clock(),  # noqa: B008  a record of two functions
) -> list[UnitStatus]:
    """Runs units until none is left, and returns the state of all.

    Args:
      study: from `read_study`; units that are added later are found.
      run_unit: runs a unit; what it raises is recorded as a failure of the unit.
      options: of the worker.
      log: called with what happens to units.
      clock: for tests.

    Raises:
      KeyboardInterrupt: SIGINT or SIGTERM arrived; the unit was given back.
      RuntimeError: a disk is full, read-only or broken; any worker goes on with the
        unit.
      ValueError: the directory of the study cannot be written for another reason.
    """
    worker = _Worker(
        run_unit=run_unit,
        options=options.check(),
        log=log,
        clock=clock,
        heartbeats=Heartbeats(options.stale, clock.now),
        known={},
        not_before={},
    )
    taken, idle_since, waiting = 0, clock.now(), False
    while True:
        study = read_study(study.folder)
        statuses = unit_statuses(study, options.tries, worker.known)
        if all(each.state in status.ENDED for each in statuses):
            return statuses
        found = _take_one(worker, study, statuses)
        if found is not None:
            _run(worker, study, *found)
            taken, idle_since, waiting = taken + 1, clock.now(), False
            if taken == options.units:
                return unit_statuses(study, options.tries, worker.known)
            continue
        if options.idle is not None and clock.now() - idle_since >= options.idle:
            return statuses
        if not waiting:
            running = sum(each.state == status.RUNNING for each in statuses)
            log(f"Waiting for {running} units that other workers have claimed.")
            waiting = True
        clock.sleep(options.beat)


def _take_one(
    worker: _Worker, study: Study, statuses: Sequence[UnitStatus]
) -> tuple[Unit, Claim] | None:
    """Claims the first unit that is ready, or whose worker was lost."""
    stale = {  # all are looked at, since the first look starts the time
        each.unit.run
        for each in statuses
        if each.state == status.RUNNING and _is_stale(worker.heartbeats, each)
    }
    for each in statuses:
        run = each.unit.run
        is_free = each.state == status.READY or run in stale
        if not is_free or worker.clock.now() < worker.not_before.get(run, 0.0):
            continue
        claim = _claimed(worker, study, each)
        if claim is not None:
            return each.unit, claim
    return None


def _is_stale(heartbeats: Heartbeats, each: UnitStatus) -> bool:
    """Whether the worker of a unit is lost, by the interval of its own heartbeat."""
    claim = each.events[-1]
    return heartbeats.is_stale(
        each.folder, claim.number, claim.details.get("beat", 0.0)
    )


def _claimed(worker: _Worker, study: Study, each: UnitStatus) -> Claim | None:
    """The claim of a unit; None where another worker was first, or it is given up."""
    number, done = len(each.events) + 1, status.epochs_done(study, each.unit)
    details = {"epochs": done, "beat": worker.options.beat}
    try:
        if not claims.add_event(each.folder, number, claims.CLAIMED, details):
            return None
    except OSError as error:
        kind = RuntimeError if error.errno in DISK else ValueError
        raise kind(
            f"{each.folder} cannot be written ({error.strerror or error}), and a "
            f"worker claims its units there. Let it write to {study.folder}, and start "
            f"it again."
        ) from None
    claim = Claim(each.folder, number)
    if each.state == status.RUNNING:
        worker.log(f"{each.unit.run}: {each.process} was lost; going on with it.")
    if _lost_in_a_row(each.events, done) < MOST_LOST:
        return claim
    error = RuntimeError(
        f"{MOST_LOST} workers in a row were lost with this unit, after {done} epochs. "
        f"The system may have killed them for memory: see its log. Try it again by "
        f"--tries {each.failures + 2}."
    )
    _fail(worker, each.unit, claim, error)
    return None


def _lost_in_a_row(events: Sequence[Event], epochs: int) -> int:
    """How many of the last events are claims after which no epoch was done."""
    count = 0
    for event in reversed(events):
        if event.kind != claims.CLAIMED or event.details.get("epochs") != epochs:
            break
        count += 1
    return count


def _run(worker: _Worker, study: Study, unit: Unit, claim: Claim) -> None:
    """Runs a unit to its end, and records how it ended."""
    worker.log(f"{unit.run}: begins.")
    try:
        with claim.beating(worker.options.beat), fenced(claim.check):
            worker.run_unit(study, unit)
            claim.end(claims.DONE)
        worker.log(f"{unit.run}: done.")
    except ClaimLostError as error:
        worker.log(f"{unit.run}: {error}")
    except DirectoryTakenError as error:
        worker.not_before[unit.run] = worker.clock.now() + worker.options.stale
        _give_back(claim, str(error))
        worker.log(f"{unit.run}: {error}")
    except Exception as error:
        if (cause := _of_the_disk(error)) is not None:
            _give_back(claim, str(error))
            raise RuntimeError(
                f"{unit.run}: {cause}. That is no fault of the unit, and any worker "
                f"goes on with it from its last checkpoint. Free space or repair "
                f"the disk, and start the worker again."
            ) from error
        _fail(worker, unit, claim, error)
    except BaseException as stop:
        _give_back(claim, "interrupted")
        if isinstance(stop, KeyboardInterrupt):
            raise KeyboardInterrupt(
                f"Interrupted; {unit.run} was given back. Any worker goes on with it."
            ) from None
        raise


def _of_the_disk(error: BaseException | None) -> OSError | None:
    """The disk's error that caused an error; every other unit would fail by it, too."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK:
            return error
        error = error.__cause__ or error.__context__
    return None


def _fail(worker: _Worker, unit: Unit, claim: Claim, error: Exception) -> None:
    try:
        claim.fail(error)
        worker.log(f"{unit.run}: failed: {error}")
    except ClaimLostError as lost:
        worker.log(f"{unit.run}: {lost}")
    except OSError as fault:
        raise RuntimeError(
            f"{unit.run}: failed ({error}), which could not be recorded ({fault}). Any "
            f"worker tries it again. Repair the disk, and start the worker again."
        ) from error


def _give_back(claim: Claim, reason: str) -> None:
    try:
        claim.end(claims.RELEASED, reason=reason)
    except (ClaimLostError, OSError):  # then others will find it stale, or have it
        return
