"""Lists what the campaign measures: stages in order of worth, and their jobs.

A job is one process: it prepares (compiles) beside others and measures alone. So a
crash ends one job only, and no row waits for the slowest compilation.
"""

import math
from typing import NamedTuple

from benchmarks import opponent
from benchmarks.gpu.sizes import CHECKED, PROGRAMS, Size

# Without autotuning compilation is reproducible, faster, and leaves the card alone. The
# commands `egnas search` and `egnas retrain` set no such flag, so XLA tunes there.
PLAIN = "--xla_gpu_autotune_level=0"
AUTOTUNED = "--xla_gpu_autotune_level=4"
DETERMINISTIC = f"{PLAIN} --xla_gpu_deterministic_ops=true"
PREPARE_S = 400.0  # seconds that a compilation may take
# The weight step of a search compiles for ten minutes on one core, and searches contain
# it; a retraining step took 516 s on two. So these may take what is left of a call, but
# none of it from quicker ones.
SLOW_S = math.inf
SLOW_PROGRAMS = "weight-step", "train-of-", "retraining-step"  # at the timed size
VARIANTS = ("paper", "reproduction")
# Tasks that time something for seconds: a torch loop is bound by launches from Python,
# which compilations on all cores would slow down.
QUIET_TASKS = "limits", "row", "torch", "epoch"


class Stage(NamedTuple):
    """A question to the card.

    Attributes:
      name: for `--stage`.
      purpose: what its jobs find out, in one line.
      limit_s: seconds of the card in one call, where a job of another stage is ready.
    """

    name: str
    purpose: str
    limit_s: float


class Job(NamedTuple):
    """One process of the campaign.

    Attributes:
      name: of the job in the memory.
      stage: that it belongs to.
      task: a key of `tasks.TASKS`.
      options: arguments of the task, as JSON.
      flags: XLA_FLAGS of its process.
      needs: what must be there: "torch", "data" or "".
      prepare_s: seconds until it must be ready for the card; `SLOW_S`: any of the call.
      is_patient: whether it begins only when all other jobs are over.
    """

    name: str
    stage: Stage
    task: str
    options: dict
    flags: str = PLAIN
    needs: str = ""
    prepare_s: float = PREPARE_S
    is_patient: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether its compilation may take as long as a call."""
        return self.prepare_s == SLOW_S

    @property
    def is_quiet(self) -> bool:
        """Whether no other job may compile while it measures."""
        return self.task in QUIET_TASKS

    @property
    def autotunes(self) -> bool:
        """Whether it runs kernels on the card while it compiles."""
        return autotunes(self.flags)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("parity", "a small supernet computes what torch does in float64", 60.0),
        Stage("speed", "population, weight step and retraining in bfloat16", 120.0),
        Stage("torch", "the fastest settings of a torch loop", 90.0),
        Stage("lowering", "one mixed cell in each lowering of its kernels", 60.0),
        Stage("float32", "whole programs in float32, with and without TF32", 120.0),
        Stage("epoch", "an epoch of `egnas search`, without autotuning", 60.0),
        Stage("together", "1, 4, 8 and 16 searches in one program", 120.0),
        Stage("deterministic", "resume bit for bit, `verify`, and their cost", 90.0),
        Stage("autotuning", "what XLA's autotuning gains and takes", 120.0),
        Stage("search", "searches on CIFAR-10, without autotuning", 120.0),
        Stage("table2", "trainings of Table 2, without autotuning", 120.0),
    )
}


def autotunes(flags: str) -> bool:
    """Whether XLA, under these flags, runs kernels on the card while it compiles."""
    return AUTOTUNED in flags


def jobs_of(size: Size) -> list[Job]:
    """All jobs of a size, in order of worth."""
    short, long = ("bfloat16",), ("float32", "default")
    again = size.repeated
    return [
        *_rows("parity", ("float32", "bfloat16"), CHECKED, size, case=size.checked),
        _limits(size),
        *_rows("speed", short, PROGRAMS, size),
        *_torch(size),
        *_rows("lowering", short, size.cells, size),
        *_rows("float32", long, again, size),
        *_epoch(size),
        *_together(size),
        *_deterministic(size),
        *_rows("autotuning", short, again, size, flags=AUTOTUNED),
        *_searches(size),
        *_trainings(size),
    ]


def open_jobs(size: Size, *, stages: list[str], torch: bool, data: bool) -> list[Job]:
    """The jobs of chosen stages whose needs are met.

    Args:
      size: of the programs.
      stages: names of stages; none chooses all.
      torch: whether torch may be measured.
      data: whether CIFAR-10 is there.
    """
    missing = {name for name, there in (("torch", torch), ("data", data)) if not there}
    return [
        job
        for job in jobs_of(size)
        if job.needs not in missing and (not stages or job.stage.name in stages)
    ]


def _job(stage: str, name: str, task: str, **options) -> Job:
    return Job(f"{stage}: {name}", STAGES[stage], task, options)


def _limits(size: Size) -> Job:
    """Autotuned: XLA's first algorithm for a product may be far below the limit."""
    job = _job("speed", "limits", "limits", trial=size.name != "full")
    return job._replace(flags=AUTOTUNED)


def _rows(stage, precisions, programs, size, *, case=None, flags=PLAIN) -> list[Job]:
    """A job for each program in each precision; `case` is the size's unless given."""
    return [
        _job(
            stage,
            f"{program}, {precision}",
            "row",
            size=size.name,
            case=case or size.case,
            program=program,
            precision=precision,
        )._replace(
            flags=flags,
            prepare_s=_prepare_s(program, case),
            # its compilation needs the card, for longer than its stage may have it
            is_patient=autotunes(flags),
        )
        for precision in precisions
        for program in programs
    ]


def _prepare_s(program: str, case: str | None) -> float:
    """Seconds that a row's program may compile; `case` is None at the timed size."""
    is_slow = case is None and program.startswith(SLOW_PROGRAMS)
    return SLOW_S if is_slow else PREPARE_S


def _epoch(size: Size) -> list[Job]:
    options = dict(size=size.name, precision="bfloat16")
    return [_job("epoch", "an epoch", "epoch", **options)._replace(prepare_s=SLOW_S)]


def _torch(size: Size) -> list[Job]:
    settings = opponent.SETTINGS["gpu" if size.name == "full" else "cpu"]
    return [
        _job(
            "torch", opponent.name_of(setting), "torch", size=size.name, setting=setting
        )._replace(needs="torch")
        for setting in settings
    ]


def _together(size: Size) -> list[Job]:
    """Weight steps for each number of searches first, then explorations."""
    pieces, counts = ("train", "evolve"), size.together
    programs = [f"{piece}-of-{count}" for piece in pieces for count in counts]
    return _rows("together", ("bfloat16",), programs, size)


def _deterministic(size: Size) -> list[Job]:
    name, stage = "resume and verify", "deterministic"
    return [
        _job(stage, name, "resume", size=size.name)._replace(flags=DETERMINISTIC),
        *_rows(stage, ("bfloat16",), size.repeated, size, flags=DETERMINISTIC),
        _job(stage, f"{name}, without the flag", "resume", size=size.name),
    ]


def _searches(size: Size) -> list[Job]:
    return [
        _job("search", variant, "search", size=size.name, variant=variant)._replace(
            needs="data" if size.name == "full" else "", prepare_s=SLOW_S
        )
        for variant in VARIANTS
    ]


def _trainings(size: Size) -> list[Job]:
    needs = "data" if size.name == "full" else ""
    job = _job("table2", "trainings", "table2", size=size.name)
    return [job._replace(needs=needs, prepare_s=SLOW_S)]
