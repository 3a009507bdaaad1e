"""Trains several networks as one program, each an ordinary run in its own directory.

What `run_retraining` does for one retraining is done here for each of several: the
lock, the first files, the start or the newest checkpoint, and the result.
"""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from egnas_jax.retrain import loop
from egnas_jax.retrain.member_loop import train_members
from egnas_jax.retrain.members import (
    MemberPrograms,
    compile_members,
    make_member_programs,
)
from egnas_jax.retrain.memory_advice import memory_advice
from egnas_jax.retrain.step import RetrainProblem
from egnas_jax.runs.batch_shape import BatchShape, has_begun
from egnas_jax.runs.failures import running
from egnas_jax.runs.plugins import Plugin
from egnas_jax.runs.retrain import (
    claim_run,
    result_of,
    write_network_files,
)
from egnas_jax.runs.retrain_result import Metadata
from egnas_jax.runs.retrain_resume import RetrainStart, find_start, write_beginning
from egnas_jax.runs.several import Ending
from egnas_jax.runs.tracking import end_with, with_trackers
from egnas_jax.training.interrupt import flag_where_saved
from egnas_jax.training.member_axis import members_mesh
from egnas_jax.training.member_turns import MemberEnd
from egnas_jax.training.out_of_memory import OutOfMemoryError, memory_shared_by


class RetrainBatch(NamedTuple):
    """Retrainings that are ready to run as a batch; nothing was compiled or written.

    Attributes:
      runs: the retrainings.
      metadata: of each.
      restores: the run that each starts from, or None.
      plugins: plug-ins that the genotype depends on.
    """

    runs: tuple[loop.RetrainRun, ...]
    metadata: tuple[Metadata, ...]
    restores: tuple[pathlib.Path | None, ...]
    plugins: tuple[Plugin, ...] = ()


def part_of(batch: RetrainBatch, rows: slice) -> RetrainBatch:
    """Returns some retrainings of a batch."""
    return batch._replace(
        runs=batch.runs[rows],
        metadata=batch.metadata[rows],
        restores=batch.restores[rows],
    )


def compiled_programs(batch: RetrainBatch, shape: BatchShape) -> MemberPrograms:
    """Compiles the programs of a batch.

    Args:
      batch: any retrainings of it.
      shape: how many run at a time, and on how many devices.
    """
    run, metadata = batch.runs[0], batch.metadata[0]
    problem = RetrainProblem(
        net=run.net,
        config=run.config,
        image_shape=tuple(metadata.image_shape),
        scale=metadata.scale,
        pipeline=run.pipeline,
    )
    programs = make_member_programs(problem, members_mesh(shape.devices))
    with memory_shared_by(shape.width):
        return compile_members(programs, run, problem.image_shape, shape.at_a_time)


def run_batch(
    batch: RetrainBatch,
    make_programs: Callable[[], MemberPrograms],
    shape: BatchShape,
    *,
    resume: bool,
    stop_after: int | None,
) -> list[Ending]:
    """Trains networks side by side until all of them have ended.

    Args:
      batch: the retrainings, at most `shape.at_a_time`.
      make_programs: returns the compiled ones; called if an epoch is left.
      shape: how many run at a time, and on how many devices.
      resume, stop_after: see `run_retraining`.

    Raises:
      Interrupted: SIGINT or SIGTERM arrived; a checkpoint of each was written.
      ValueError: a directory cannot be used.
      RuntimeError: the batch failed; every checkpoint is whole.
    """
    runs = batch.runs
    starts = [
        find_start(run, restore, resume=resume and has_begun(run.folder))
        for run, restore in zip(runs, batch.restores, strict=True)
    ]
    last = loop.last_step(runs[0], stop_after)
    with contextlib.ExitStack() as stack:
        names = [str(run.folder) for run in runs]
        for index, (run, start) in enumerate(zip(runs, starts, strict=True)):
            claim = claim_run(
                run,
                start,
                stop_after,
                resume=resume,
                plugins=batch.plugins,
                batch=shape.place(index, names),
            )
            stack.enter_context(claim)
        stack.enter_context(running(functools.partial(_advice, runs=runs)))
        begun = _begun(batch, starts)
        trains = any(int(end.progress.step) < last for end in begun)
        programs = make_programs() if trains else None
        flag = flag_where_saved(runs[0].folder, runs[0].log)
        interrupted = stack.enter_context(flag)
        for run in runs:
            stack.callback(run.pipeline.close)
        contexts = [stack.enter_context(contextlib.ExitStack()) for _ in runs]
        firsts = [
            loop.num_recorded(run, int(end.progress.step))
            for run, end in zip(runs, begun, strict=True)
        ]
        runs = [
            context.enter_context(with_trackers(run, run.config, first))
            for context, run, first in zip(contexts, runs, firsts, strict=True)
        ]
        ends = train_members(
            programs, shape.at_a_time, runs, begun, last, interrupted=interrupted
        )
        for context, end in zip(contexts, ends, strict=True):
            end_with(context, end.error)
        return [_ending(batch, index, end) for index, end in enumerate(ends)]


def _advice(error: OutOfMemoryError, *, runs: Sequence[loop.RetrainRun]) -> str:
    advice = memory_advice(error, config=runs[0].config, folder=runs[0].folder)
    fewer = -(-len(runs) // 2)
    return f"{advice}\nOr train fewer at a time, under new directories: {fewer}."


def _begun(batch: RetrainBatch, starts: Sequence[RetrainStart]) -> list[MemberEnd]:
    """Where each retraining begins; its files are brought there."""
    begun = []
    for run, metadata, start in zip(batch.runs, batch.metadata, starts, strict=True):
        write_network_files(run, metadata)
        write_beginning(run, start)
        state = jax.device_get(start.state)
        begun.append(MemberEnd(state, list(start.records)))
    return begun


def _ending(batch: RetrainBatch, index: int, end: MemberEnd) -> Ending:
    """The result of a retraining, written; or the error that ended it."""
    if end.error is not None:
        return Ending(None, end.error)
    run, metadata = batch.runs[index], batch.metadata[index]
    return Ending(result_of(run, metadata, end.progress, end.records))
