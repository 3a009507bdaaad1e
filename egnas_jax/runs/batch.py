"""Runs several searches as one program, each an ordinary run in a directory of its own.

What `run_search` does for one search is done here for each of several: the lock, the
first files, the start or the newest checkpoint, and the result.
"""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from egnas_jax.runs import out_of_memory
from egnas_jax.runs.batch_members import BatchSetup
from egnas_jax.runs.batch_shape import BatchShape, has_begun
from egnas_jax.runs.failures import running
from egnas_jax.runs.search import (
    claim_run,
    write_model,
)
from egnas_jax.runs.search_result import finish
from egnas_jax.runs.search_resume import StartPoint, begin, find_start
from egnas_jax.runs.several import Ending
from egnas_jax.runs.tracking import end_with, with_trackers
from egnas_jax.search import loop
from egnas_jax.search.member_epochs import make_batch
from egnas_jax.search.member_loop import Engine, MemberEnd, on_host, search_members
from egnas_jax.search.members import (
    MemberPrograms,
    compile_members,
    make_member_programs,
)
from egnas_jax.storage import records
from egnas_jax.training.interrupt import flag_where_saved
from egnas_jax.training.member_axis import filled_up, members_mesh
from egnas_jax.training.out_of_memory import OutOfMemoryError, memory_shared_by
from egnas_jax.training.program_cache import CompileMonitor


class BatchOptions(NamedTuple):
    """How a batch runs.

    Attributes:
      shape: how many searches run at a time, and on which devices.
      resume: whether the runs may exist already.
      stop_after: epochs after which they end early, or None.
      data_dir: where their data were looked for, or None.
      programs: returns the compiled programs; called if an epoch is left.
    """

    shape: BatchShape
    resume: bool
    stop_after: int | None
    data_dir: str | pathlib.Path | None
    programs: Callable[[], MemberPrograms]


def run_batch(batch: BatchSetup, options: BatchOptions) -> list[Ending]:
    """Runs searches side by side until all of them have ended.

    Args:
      batch: the searches, at most `options.shape.at_a_time`.
      options: of the runs.

    Raises:
      Interrupted: SIGINT or SIGTERM arrived; a checkpoint of each search was written.
      ValueError: a directory cannot be used.
      RuntimeError: the batch failed; every checkpoint is whole.
    """
    runs = [setup.run for setup in batch.setups]
    starts = [
        find_start(run, restore, resume=options.resume and has_begun(run.folder))
        for run, restore in zip(runs, batch.restores, strict=True)
    ]
    last = loop.last_epoch(runs[0], options.stop_after)
    trains = [start.epochs < last for start in starts]
    names = [str(run.folder) for run in runs]
    with contextlib.ExitStack() as stack:
        for index, setup in enumerate(batch.setups):
            place = options.shape.place(index, names)
            claim = claim_run(
                setup, starts[index], trains[index], options.resume, place
            )
            stack.enter_context(claim)
        at_a_time = options.shape.at_a_time
        advise = functools.partial(_advice, batch=batch, width=at_a_time)
        stack.enter_context(running(advise))
        for run in runs:
            write_model(run)
        programs = options.programs() if any(trains) else None
        engine = programs and Engine(batch.images, programs, at_a_time)
        contexts = [stack.enter_context(contextlib.ExitStack()) for _ in runs]
        begun, members = _begun(batch, starts, contexts)
        flag = flag_where_saved(runs[0].folder, runs[0].log)
        interrupted = stack.enter_context(flag)
        ends = search_members(engine, members, begun, last, interrupted)
        for context, end in zip(contexts, ends, strict=True):
            end_with(context, end.error)
        return [
            _ending(setup, end, options.data_dir)
            for setup, end in zip(batch.setups, ends, strict=True)
        ]


def _advice(error: OutOfMemoryError, *, batch: BatchSetup, width: int) -> str:
    setup = batch.setups[0]
    advice = out_of_memory.search_advice(error, config=setup.config, run=setup.run)
    fewer = -(-width // 2)
    return f"{advice}\nOr run fewer searches at a time, under new directories: {fewer}."


def compiled_programs(
    batch: BatchSetup, shape: BatchShape, monitor: CompileMonitor
) -> MemberPrograms:
    """Compiles the programs of a batch, or reads them from the user's cache.

    Programs of several devices are not in the cache.

    Args:
      batch: any searches of it.
      shape: how many searches run at a time, and on how many devices.
      monitor: called with the progress of the compilation.
    """
    run, one = batch.setups[0].run, {0: batch.members[0]}
    filled = filled_up(one, shape.at_a_time)
    mesh = members_mesh(shape.devices)
    programs = make_member_programs(run.problem, run.image_shape, mesh)
    data = make_batch(programs, batch.images, one, shape.at_a_time).data
    identity = run.identity and {**run.identity, "members": shape.width}
    identity = None if mesh else identity
    with memory_shared_by(shape.width):
        return compile_members(
            programs, filled, data, identity=identity, monitor=monitor
        )


def _begun(batch: BatchSetup, starts: Sequence[StartPoint], contexts):
    """Where each search begins, its files brought to that epoch; and the members.

    Args:
      batch, starts: the searches, and where each begins.
      contexts: an `ExitStack` for each search, which ends with it.
    """
    begun, members = [], []
    for index, setup in enumerate(batch.setups):
        run, start = setup.run, starts[index]
        progress = begin(run, start)
        earlier = list(start.records)
        if run.folder:
            earlier = records.read(run.folder / "metrics.jsonl")
        begun.append(MemberEnd(on_host(progress), earlier))
        trackers = with_trackers(run, setup.config, int(progress.state.epoch))
        run = contexts[index].enter_context(trackers)
        members.append(batch.members[index]._replace(run=run))
    return begun, members


def _ending(setup, end: MemberEnd, data_dir) -> Ending:
    """The result of a search, written; or the error that ended it."""
    if end.error is not None:
        return Ending(None, end.error)
    ended = loop.SearchEnd(end.progress.state, end.records)
    return Ending(finish(setup, ended, data_dir))
