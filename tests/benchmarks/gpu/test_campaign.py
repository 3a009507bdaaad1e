"""The campaign with a clock and processes that exist in the test alone."""

import itertools

import pytest

from benchmarks.gpu import memory as memories
from benchmarks.gpu.campaign import GRACE_S, Campaign
from benchmarks.gpu.jobs import SLOW_S, Job, Stage
from benchmarks.gpu.memory import DONE, FAILED, LATE, STOPPED, Memory

STAGE, OTHER = Stage("first", "", 60.0), Stage("second", "", 60.0)
EMPTY = Memory({}, "tiny", {})


class Clock:
    """Seconds that pass only in `sleep`, and not for ever."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        assert self.now < 2000.0, "the campaign does not end"


class FakeProcess:
    """Prepares, measures, writes a result and ends, each at its time.

    Args:
      clock: of the test.
      prepare, measure: seconds; infinity: never.
      crash: exit code instead of an end.
      deaf: ignores a request to end.
      saves: ends as unfinished when it is asked to.
    """

    def __init__(
        self, clock, prepare=1.0, measure=1.0, *, crash=None, deaf=False, saves=False
    ):
        self.clock, self.prepare, self.measure = clock, prepare, measure
        self.crash, self.deaf, self.saves = crash, deaf, saves
        self.started, self.granted, self.others, self.code = clock(), None, None, None
        self.sent, self.halted_at, self.halted_s = set(), None, 0.0

    def messages(self):
        found = []
        if self.halted_at is not None:
            return found
        prepared_s = self.clock() - self.started - self.halted_s
        if self._once("ready", prepared_s >= self.prepare):
            found.append({"event": "ready", "machine": {"jax": "1.0"}})
        has_run = self.granted is not None and self.code is None
        if has_run and self.clock() - self.granted >= self.measure:
            if self.crash is None and self._once("end", True):
                result = {"seconds": self.measure}
                found.append({"event": "result", "name": "row", "result": result})
                found.append({"event": "end", "state": DONE, "reason": ""})
            self.code = self.crash or 0
        if "asked" in self.sent and self._once("end", self.saves):
            found.append({"event": "end", "state": STOPPED, "reason": "saved"})
            self.code = 0
        return found

    def _once(self, what, happens):
        if happens and what not in self.sent:
            self.sent.add(what)
            return True
        return False

    def grant(self, **others):
        self.granted, self.others = self.clock(), others

    def halt(self):
        assert self.halted_at is None
        self.halted_at = self.clock()

    def go_on(self):
        if self.halted_at is not None:
            self.halted_s += self.clock() - self.halted_at
            self.halted_at = None

    def stop(self, *, at_once=False):
        self.go_on()
        if at_once:
            self.code = -9 if self.code is None else self.code
        elif self.saves:
            self.sent.add("asked")
        elif not self.deaf:
            self.code = -15

    def exit_code(self):
        return self.code


class Trial:
    """A campaign of fake processes; `plans` are their arguments, attempt by attempt.

    Jobs may prepare for 100 s, those in `slow` as long as the call. Those in `quiet`
    are rows, the others searches.
    """

    def __init__(
        self, plans, memory=EMPTY, *, stages=None, slow=(), quiet=(), **options
    ):
        self.clock, self.saved, self.said = Clock(), [], []
        self.started, self.attempts = {}, []
        jobs = [
            Job(
                name,
                (stages or {}).get(name, STAGE),
                "row" if name in quiet else "search",
                {},
                prepare_s=SLOW_S if name in slow else 100.0,
            )
            for name in plans
        ]
        attempts = {
            name: iter(plan if isinstance(plan, list) else itertools.repeat(plan))
            for name, plan in plans.items()
        }

        def start(job, loads):
            self.attempts.append((job.name, loads))
            process = FakeProcess(self.clock, **next(attempts[job.name]))
            self.started.setdefault(job.name, []).append(process)
            return process

        self.campaign = Campaign(
            jobs,
            memory,
            start,
            say=self.said.append,
            clock=self.clock,
            **{"save": self.saved.append, "slots": 2, **options},
        )

    def run(self, seconds):
        self.campaign.run(seconds, self.clock.sleep)
        return self.campaign.memory

    def granted(self, name):
        return self.started[name][0].granted


def test_rows_are_timed_as_their_compilation_ends():
    trial = Trial({"slow": dict(prepare=50.0), "quick": dict(prepare=2.0)})
    memory = trial.run(1000.0)
    assert memory.state("slow") == memory.state("quick") == DONE
    assert 2.0 <= trial.granted("quick") < 3.0
    assert 50.0 <= trial.granted("slow") < 51.0
    # the slow one compiled beside it
    assert trial.started["quick"][0].others == {"beside": 1, "halted": 0}
    assert memory.jobs["quick"]["results"] == {"row": {"seconds": 1.0}}
    assert memory.jobs["quick"]["seconds"] == pytest.approx(1.0, abs=0.2)
    assert memory.machine == {"jax": "1.0"}


def test_one_job_at_a_time_has_the_card():
    trial = Trial({name: dict(prepare=1.0, measure=5.0) for name in "abc"}, slots=3)
    trial.run(1000.0)
    times = [trial.granted(name) for name in "abc"]
    assert times[1] - times[0] >= 5.0 and times[2] - times[1] >= 5.0


def test_a_crash_is_recorded_and_the_next_job_runs():
    trial = Trial({"bad": dict(crash=-11), "good": {}})
    memory = trial.run(1000.0)
    assert memory.state("bad") == FAILED and memory.state("good") == DONE
    assert "ended with code -11" in memory.jobs["bad"]["reason"]
    assert memory.jobs["bad"]["attempts"] == 2  # no more than one repetition in a call


def test_a_job_that_crashes_once_is_measured_by_its_second_process():
    trial = Trial({"loads": [dict(crash=-11), {}]})
    assert trial.run(1000.0).state("loads") == DONE
    assert trial.attempts == [("loads", True), ("loads", False)]


def test_a_job_that_was_stopped_may_load_a_program_in_the_next_call():
    memory = Trial({"loads": dict(prepare=float("inf"))}).run(10.0)
    trial = Trial({"loads": {}}, memory)
    trial.run(10.0)
    assert memory.state("loads") == STOPPED and trial.attempts == [("loads", True)]


def test_a_compilation_that_does_not_end_is_stopped_and_named():
    trial = Trial({"stuck": dict(prepare=float("inf")), "good": {}})
    memory = trial.run(1000.0)
    assert memory.state("good") == DONE
    assert memory.state("stuck") == LATE
    assert memory.jobs["stuck"]["reason"] == "was not ready for the card after 100 s"
    assert trial.clock() < 110.0


def test_slow_compilations_take_no_slot_from_quicker_ones_and_the_whole_call():
    """Three slow compilations and one that is stuck come before six rows in worth."""
    plans = {f"slow{i}": dict(prepare=350.0) for i in range(3)}
    plans |= {"stuck": dict(prepare=float("inf"))}
    plans |= {f"quick{i}": dict(prepare=60.0) for i in range(6)}
    trial = Trial(plans, slots=3, slow=[f"slow{i}" for i in range(3)])
    memory = trial.run(480.0)
    assert [name for name, _ in trial.attempts][-3:] == ["slow0", "slow1", "slow2"]
    assert all(memory.state(f"quick{i}") == DONE for i in range(6))
    assert memory.state("slow0") == DONE  # 350 s are more than the limit of the others
    assert memory.state("stuck") == LATE


def test_what_was_not_ready_in_a_call_comes_last_in_the_next_one():
    plans = {"slow": dict(prepare=600.0), "other": dict(prepare=600.0), "row": {}}
    memory = Trial(plans, slow=["slow"]).run(90.0)
    assert memory.state("slow") == LATE
    assert memory.state("other") == STOPPED  # its time was not up
    again = Trial({**plans, "new": {}}, memory, slots=1, slow=["slow", "new"])
    again.run(2000.0)
    assert [name for name, _ in again.attempts] == ["other", "new", "slow"]


def test_interrupting_a_slow_compilation_says_nothing_of_its_length():
    plan, stop = {"slow": dict(prepare=600.0)}, dict(interruptions=lambda: 1)
    assert Trial(plan, slow=["slow"]).run(5.0).state("slow") == LATE
    trial = Trial(plan, slow=["slow"], **stop)
    trial.campaign._decide()
    assert trial.run(5.0).state("slow") == STOPPED


def test_programs_that_were_compiled_beforehand_are_measured_first():
    plans = {name: {} for name in ("a", "b", "c", "late")}
    late = memories.end(memories.begin(EMPTY, "late"), "late", LATE, "", 0.0)
    trial = Trial(plans, late, slots=1, slow=["b"], carried={"b", "late"})
    trial.run(100.0)
    assert [name for name, _ in trial.attempts] == ["b", "late", "a", "c"]


def test_the_card_is_given_in_order_of_worth_whatever_began_first():
    plans = {name: dict(prepare=5.0) for name in ("slow", "row", "carried")}
    plans |= {"other": dict(measure=10.0)}
    trial = Trial(plans, slots=4, slow=["slow"], carried={"carried"})
    trial.run(100.0)
    assert [name for name, _ in trial.attempts] == ["carried", "row", "other", "slow"]
    granted = sorted(trial.started, key=trial.granted)
    assert granted == ["other", "slow", "row", "carried"]


def test_a_process_that_does_not_listen_is_killed():
    trial = Trial({"deaf": dict(prepare=float("inf"), deaf=True)})
    memory = trial.run(1000.0)
    assert memory.state("deaf") == LATE
    assert 100.0 + GRACE_S < trial.clock() < 102.0 + GRACE_S


def test_the_end_of_the_time_is_recorded_and_results_so_far_stay():
    plans = {"done": {}, "endless": dict(measure=float("inf"), saves=True)}
    trial = Trial({**plans, "waiting": {}}, slots=1)
    memory = trial.run(30.0)
    assert memory.state("done") == DONE
    assert memory.jobs["endless"]["reason"] == "saved"
    assert memory.state("endless") == STOPPED
    assert trial.clock() < 31.0
    assert [m.jobs["done"]["results"] for m in trial.saved][-1] == {
        "row": {"seconds": 1.0}
    }


def test_a_call_of_no_seconds_starts_nothing():
    trial = Trial({"a": {}})
    assert trial.run(0.0) == EMPTY and trial.attempts == []


def test_the_next_call_goes_on_where_the_last_stopped():
    first = Trial({"a": {}, "b": dict(measure=float("inf"))}, slots=1)
    memory = first.run(10.0)
    second = Trial({"a": {}, "b": {}}, memory)
    memory = second.run(100.0)
    assert set(second.started) == {"b"}
    assert memory.state("a") == memory.state("b") == DONE
    assert memory.jobs["b"]["attempts"] == 2


def test_a_job_that_failed_is_tried_again_after_all_others():
    memory = Trial({"bad": dict(crash=1)}).run(100.0)
    trial = Trial({"bad": {}, "new": {}}, memory, slots=1)
    assert trial.run(100.0).state("bad") == DONE
    assert trial.granted("new") < trial.granted("bad")


def test_a_stage_over_its_limit_makes_room_and_goes_on_later():
    stretches = [dict(measure=float("inf"), saves=True), dict(measure=100.0)]
    stages = {"long": STAGE, "short": OTHER}
    trial = Trial({"long": stretches, "short": dict(prepare=5.0)}, stages=stages)
    memory = trial.run(1000.0)
    first, second = trial.started["long"]
    assert 61.0 <= trial.granted("short") < 62.5  # the limit of the stage is 60 s
    assert second.started > trial.granted("short")
    assert second.granted + 100.0 <= trial.clock()  # nobody waits: no limit
    assert memory.state("long") == memory.state("short") == DONE


def test_a_search_has_the_card_whenever_no_other_job_is_ready():
    """It goes beyond its 60 s, makes room at 100 s, and goes on while one compiles."""
    stretches = [dict(measure=float("inf"), saves=True), dict(measure=30.0)]
    plans = {"search": stretches, "row": dict(prepare=100.0)}
    plans |= {"compiles": dict(prepare=300.0)}
    stages = {"search": STAGE, "row": OTHER, "compiles": OTHER}
    trial = Trial(plans, slots=3, stages=stages, slow=["row", "compiles"])
    memory = trial.run(1000.0)
    assert 100.0 <= trial.granted("row") < 101.0
    second = trial.started["search"][1]
    assert 101.0 <= second.started < 103.0 and second.granted < 104.0
    assert memory.state("search") == DONE
    assert trial.granted("compiles") > 300.0


def test_what_compiles_stands_still_while_a_row_is_timed():
    """For 30 s, which do not count against the 100 s that it may prepare."""
    plans = {"row": dict(measure=30.0), "compiles": dict(prepare=90.0), "waits": {}}
    trial = Trial(plans, quiet=["row"])
    memory = trial.run(1000.0)
    assert trial.started["row"][0].others == {"beside": 0, "halted": 1}
    assert 120.0 <= trial.granted("compiles") < 121.5
    assert memory.state("compiles") == DONE
    assert trial.started["waits"][0].started > 31.0  # none starts meanwhile


def test_a_search_halts_no_compilation():
    plans = {"search": dict(measure=200.0), "compiles": dict(prepare=90.0)}
    trial = Trial(plans, stages={"compiles": OTHER})
    trial.run(100.0)
    assert trial.started["search"][0].others == {"beside": 1, "halted": 0}
    assert 90.0 <= trial.granted("compiles") < 91.5


def test_a_job_whose_readiness_was_said_before_it_was_halted_gets_the_card():
    trial = Trial({"row": dict(measure=5.0), "next": dict(prepare=1.5)}, quiet=["row"])
    messages = FakeProcess.messages

    def say_ready_late(process):
        """What was said already arrives although the process is halted."""
        if "ready" in process.sent:
            return messages(process)
        halted_at, process.halted_at = process.halted_at, None
        found = messages(process)
        process.halted_at = halted_at
        return found

    trial.campaign._decide()
    trial.started["next"][0].messages = lambda: say_ready_late(trial.started["next"][0])
    memory = trial.run(100.0)
    assert memory.state("next") == DONE and trial.started["next"][0].halted_at is None
    assert memory.state("row") == DONE


def test_no_halted_process_is_left_when_the_time_is_up():
    plans = {"row": dict(measure=float("inf")), "compiles": dict(prepare=90.0)}
    trial = Trial(plans, quiet=["row"])
    memory = trial.run(20.0)
    [process] = trial.started["compiles"]
    assert process.code == -15 and process.halted_at is None
    assert trial.clock() < 21.0  # nobody had to be killed
    assert memory.state("compiles") == STOPPED


def test_every_row_is_saved_before_the_next_one_starts():
    trial = Trial({name: {} for name in "abc"}, slots=1)
    trial.run(100.0)
    written = [
        sum(bool(job["results"]) for job in memory.jobs.values())
        for memory in trial.saved
    ]
    assert written == sorted(written) and set(written) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "plan, presses, seconds",
    [(dict(saves=True), 1, 0.5), (dict(deaf=True), 2, 3.5)],
)
def test_interrupting_the_campaign_ends_its_processes(plan, presses, seconds):
    """A second interruption, three seconds later, kills what does not listen."""
    times = [5.0, 8.0][:presses]
    trial = Trial(
        {"long": dict(measure=float("inf"), **plan)},
        interruptions=lambda: sum(time <= trial.clock() for time in times),
    )
    memory = trial.run(1000.0)
    assert memory.state("long") == STOPPED
    reason = memory.jobs["long"]["reason"]
    assert reason in ("saved", "the campaign was interrupted")
    assert 5.0 < trial.clock() < 5.0 + seconds
    [process] = trial.started["long"]
    assert process.code is not None


def test_no_process_is_left_when_the_disk_is_full():
    def save(memory):
        if memory.jobs.get("quick", {}).get("results"):
            raise OSError(28, "No space left on device")

    plans = {"quick": {}, "slow": dict(prepare=float("inf"))}
    trial = Trial(plans, save=save)
    with pytest.raises(OSError, match="No space left"):
        trial.run(100.0)
    [slow] = trial.started["slow"]
    assert slow.code == -9


def killed(trial, seconds):
    """What the disk holds when the campaign is killed after so many seconds."""

    class Kill(BaseException):
        pass

    def sleep(pause):
        trial.clock.sleep(pause)
        if trial.clock() >= seconds:
            raise Kill

    with pytest.raises(Kill):
        trial.campaign.run(1000.0, sleep)
    return trial.saved[-1]


def test_of_the_jobs_of_a_killed_campaign_only_the_one_with_the_card_is_suspect():
    """Two others compiled and one was ready; they keep their places and programs."""
    endless = dict(prepare=float("inf"))
    plans = {"heavy": dict(measure=50.0), "ready": dict(prepare=5.0)}
    plans |= {"a": endless, "b": endless}
    memory = killed(Trial(plans, slots=4, carried={"ready"}), 20.0)
    trial = Trial(dict.fromkeys([*plans, "new"], {}), memory, slots=1)
    trial.run(100.0)
    names = ["ready", "a", "b", "new"]
    assert trial.attempts == [*((name, True) for name in names), ("heavy", False)]


@pytest.mark.parametrize("carried, loads", [({"a"}, False), ((), True)])
def test_a_job_that_was_killed_while_it_loaded_a_program_compiles_it(carried, loads):
    memory = killed(Trial({"a": dict(prepare=5.0)}, carried=carried), 2.0)
    trial = Trial({"a": {}}, memory, carried=carried)
    trial.run(100.0)
    assert trial.attempts == [("a", loads)]


def test_forgotten_jobs_are_measured_again():
    memory = memories.forget(Trial({"a": {}}).run(100.0), ["a"])
    trial = Trial({"a": {}}, memory)
    trial.run(100.0)
    assert "a" in trial.started
