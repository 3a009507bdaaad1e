"""Runs the jobs of a campaign: several prepare at a time, one at a time has the card.

The loop asks the processes for messages, writes every result down as it comes, and
does what `schedule` decides. Clock, processes and memory are arguments.
"""

import time
from collections.abc import Callable, Collection, Sequence

from benchmarks.gpu import memory as memories
from benchmarks.gpu import schedule
from benchmarks.gpu.jobs import Job
from benchmarks.gpu.memory import DONE, FAILED, LATE, STOPPED, Memory
from benchmarks.gpu.process import JobProcess
from benchmarks.gpu.schedule import (
    ACTIVE,
    HALTED,
    MEASURING,
    OVER,
    PAUSED,
    PREPARING,
    READY,
    UNREADY,
    WAITING,
    Phase,
)

GRACE_S = 15.0  # from the request to end until a process is killed
PAUSE_S = 0.1  # between two looks at the processes
TIME_UP = "the time of the call was up"
INTERRUPTED = "the campaign was interrupted"


class Campaign:
    """The jobs of one call, their processes, and the memory.

    Args:
      jobs: in order of worth; those that are done are left out.
      memory: of the calls before.
      start: starts the process of a job; the second argument says whether it may load
        a program that was compiled beforehand, which a job that has failed may not.
      save: writes a memory.
      ended: called after every job.
      say: prints a line of progress.
      slots: how many jobs may prepare at a time.
      carried: names of the jobs whose programs were compiled beforehand.
      interruptions: how often the user asked the campaign to end. It is asked between
        two steps, so that no message is lost half-handled.
      clock: seconds that only grow.

    Attributes:
      jobs: in the order in which they begin.
      by_worth: the same jobs in the order in which they get the card.
      memory: what all calls have found so far.
      phases: name of a job -> where it is.
      spent: stage -> seconds that it had the card in this call.
      stopping: name of a job that was asked to end -> why, and when.
      said: name of a job -> the state and reason that its process ended with.
      crashed: name of a job -> how often its process ended without a word.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        memory: Memory,
        start: Callable[[Job, bool], JobProcess],
        *,
        save: Callable[[Memory], None],
        ended: Callable[[], None] = lambda: None,
        say: Callable[[str], None],
        slots: int,
        carried: Collection[str] = (),
        interruptions: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.jobs = memories.in_order(memory, list(jobs), carried)
        self.by_worth = memories.by_worth(memory, list(jobs))
        self.memory, self.carried = memory, carried
        self.start, self.say = start, say
        self.save, self.ended = save, ended
        self.slots, self.clock = slots, clock
        self.interruptions = interruptions
        self.phases = {job.name: Phase(WAITING, clock()) for job in self.jobs}
        self.spent: dict[str, float] = {}
        self.processes: dict[str, JobProcess] = {}
        self.stopping: dict[str, tuple[str, float]] = {}
        self.said: dict[str, tuple[str, str]] = {}
        self.crashed: dict[str, int] = {}

    def run(self, seconds: float, pause: Callable[[float], None] = time.sleep) -> None:
        """Runs until every job is over, the time is up, or it was interrupted.

        No process is left when it returns or raises.

        Args:
          seconds: from now until the last process is asked to end.
          pause: waits for so many seconds.

        Raises:
          OSError: the memory cannot be written, or a process cannot be started.
        """
        try:
            self._work(self.clock() + seconds, pause)
            why = INTERRUPTED if self.interruptions() else TIME_UP
            for job in self._in(*ACTIVE):
                self._ask_to_end(job, why)
            while self._in(*ACTIVE):
                self._look()
                self._kill_the_late()
                pause(PAUSE_S)
        finally:
            for process in self.processes.values():
                process.stop(at_once=True)

    def _work(self, end: float, pause: Callable[[float], None]) -> None:
        while self.clock() < end and not self._is_over() and not self.interruptions():
            self._look()
            self._decide()
            pause(PAUSE_S)

    def _is_over(self) -> bool:
        return not self._in(WAITING, PAUSED, *ACTIVE)

    def _in(self, *names: str) -> list[Job]:
        return [job for job in self.jobs if self.phases[job.name].name in names]

    def _move(self, job: Job, name: str, *, is_resumed: bool = False) -> None:
        """Brings a job into a phase, and counts its seconds with the card."""
        before = self.phases[job.name]
        if before.name == MEASURING:
            took = self.clock() - before.since
            self.spent[job.stage.name] = self.spent.get(job.stage.name, 0.0) + took
        self.phases[job.name] = Phase(name, self.clock(), is_resumed)

    def _update(self, memory: Memory) -> None:
        self.memory = memory
        self.save(memory)

    def _look(self) -> None:
        """Handles the messages and the ends of all processes."""
        for job in self._in(*ACTIVE):
            process = self.processes[job.name]
            code = process.exit_code()  # before the messages, so that none is missed
            for message in process.messages():
                self._handle(job, message)
            if code is not None:
                self._end(job, *self._how(job, code))

    def _how(self, job: Job, code: int) -> tuple[str, str]:
        """State and reason of a job whose process has ended."""
        why, _ = self.stopping.get(job.name, ("", 0.0))
        if job.name in self.said:
            state, reason = self.said[job.name]
            return state, reason or ("" if state == DONE else why)
        if why:
            return LATE if self._is_late(job, why) else STOPPED, why
        self.crashed[job.name] = self.crashed.get(job.name, 0) + 1
        return FAILED, f"its process ended with code {code}; see its log"

    def _is_late(self, job: Job, why: str) -> bool:
        """Whether a job was stopped since its compilation takes too long."""
        is_slow = job.is_slow if why == TIME_UP else why != INTERRUPTED
        return self.phases[job.name].name in UNREADY and is_slow

    def _handle(self, job: Job, message: dict) -> None:
        event = message.pop("event")
        if event == "ready":
            machine = {**self.memory.machine, **message["machine"]}
            memory = self.memory._replace(machine=machine)
            self._update(memories.cover(memory, job.name))
            self.processes[job.name].go_on()  # it was ready before it was halted
            self._move(job, READY)
        elif event == "result":
            name, result = message["name"], message["result"]
            self.say(f"{job.name}: {name}: {_short(result)}")
            self._update(memories.with_result(self.memory, job.name, name, result))
        else:  # the card is free once the process has ended, too
            self.said[job.name] = message["state"], message["reason"]

    def _end(self, job: Job, state: str, reason: str) -> None:
        """Records the end of a job whose process has ended."""
        phase = self.phases[job.name]
        seconds = self.clock() - phase.since if phase.name == MEASURING else 0.0
        self._move(job, self._after(job, state, reason))
        for part in (self.stopping, self.said):
            part.pop(job.name, None)
        self.processes.pop(job.name).stop(at_once=True)  # what it may have started
        self.say(f"{job.name}: {state}" + (f": {reason}" if reason else ""))
        self._update(memories.end(self.memory, job.name, state, reason, seconds))
        self.ended()

    def _after(self, job: Job, state: str, reason: str) -> str:
        """The phase of a job whose process has ended.

        What was stopped for others goes on after them. After one crash a job is tried
        again, since a program that was compiled beforehand may not fit the driver.
        """
        measured = self.phases[job.name].name == MEASURING
        if state == STOPPED and measured and reason != TIME_UP:
            return PAUSED
        crashed_now = state == FAILED and job.name not in self.said
        if crashed_now and self.crashed[job.name] == 1:
            return WAITING
        return OVER

    def _decide(self) -> None:
        """Stops, halts, grants and starts what the schedule says."""
        jobs = schedule.admitted(self.jobs, self.phases)
        late = schedule.to_stop(jobs, self.phases, self.spent, self.clock())
        for job, why in late:
            self._ask_to_end(job, why)
        self._kill_the_late()
        by_worth = schedule.admitted(self.by_worth, self.phases)
        job = schedule.to_grant(by_worth, self.phases, self.spent)
        if job is not None:
            self._move(job, MEASURING)
            self._update(memories.expose(self.memory, job.name))
        self._halt_and_continue()
        if job is not None:
            others = dict(beside=len(self._in(PREPARING)), halted=len(self._in(HALTED)))
            self.processes[job.name].grant(**others)
        while job := schedule.to_prepare(jobs, self.phases, self.slots):
            self._begin(job)
        if job := schedule.to_resume(jobs, self.phases):
            self._begin(job, is_resumed=True)

    def _halt_and_continue(self) -> None:
        """Halts what prepares while a row is timed, and lets it go on afterwards."""
        for job in schedule.to_halt(self.jobs, self.phases):
            if job.name not in self.stopping:  # it is to end, not to wait
                self.processes[job.name].halt()
                phase = schedule.halted(self.phases[job.name], self.clock())
                self.phases[job.name] = phase
        for job in schedule.to_continue(self.jobs, self.phases):
            self.processes[job.name].go_on()
            phase = schedule.continued(self.phases[job.name], self.clock())
            self.phases[job.name] = phase

    def _begin(self, job: Job, *, is_resumed: bool = False) -> None:
        """Starts the process of a job."""
        self.say(f"{job.name}: starts")
        self._move(job, PREPARING, is_resumed=is_resumed)
        loads = not memories.is_suspect(self.memory, job.name)
        is_carried = loads and job.name in self.carried
        self._update(memories.begin(self.memory, job.name, loads=is_carried))
        self.processes[job.name] = self.start(job, loads)

    def _ask_to_end(self, job: Job, why: str) -> None:
        if job.name not in self.stopping:
            self.stopping[job.name] = why, self.clock()
            self.processes[job.name].stop()

    def _kill_the_late(self) -> None:
        """Kills processes that did not end in time; their ends are seen later.

        A second interruption means that the user does not want to wait for them.
        """
        is_urgent = self.interruptions() > 1
        for name, (_, since) in self.stopping.items():
            if is_urgent or self.clock() - since > GRACE_S:
                self.processes[name].stop(at_once=True)


def _short(result: dict) -> str:
    """The numbers and texts of a result in one line."""
    parts = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in result.items()
        if isinstance(value, (float, int, str)) and not isinstance(value, bool)
    ]
    return ", ".join(parts)[:200]
