"""Finds where a search begins: at its start, at its own newest checkpoint, or at
another run's."""

import pathlib
from typing import NamedTuple

import jax

from egnas_jax.runs import origin
from egnas_jax.runs.directory import stored_config
from egnas_jax.runs.environment import warn_of_changes, width_of
from egnas_jax.search import loop
from egnas_jax.search.search_run import (
    Progress,
    SearchRun,
    SearchStage,
    beginning,
    in_stage,
)
from egnas_jax.storage import records
from egnas_jax.training import processes
from egnas_jax.training.devices import replicate
from egnas_jax.training.jax_settings import pinned


class StartPoint(NamedTuple):
    """Where a run begins or goes on.

    Attributes:
      progress: that of a checkpoint; None where the run begins with its first epoch.
      origin: contents of restored.json, or None where it started from no other run.
      records: those of the run that is restored, to be copied; empty unless the new
        run begins now.
    """

    progress: Progress | None
    origin: dict | None = None
    records: tuple[dict, ...] = ()

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return int(self.progress.state.epoch) if self.progress else 0

    def stage_of(self, run: SearchRun) -> SearchStage | None:
        """The stage in which the next epoch lies; None for a search without stages."""
        stage = in_stage(run, self.progress and self.progress.stage).stage
        if stage is None or self.epochs < stage.end or stage.end == run.epochs:
            return stage
        return run.enter(stage.index + 1, None).stage


def find_start(
    run: SearchRun, restore: str | pathlib.Path | None, *, resume: bool
) -> StartPoint:
    """Returns the run's own newest checkpoint, another run's, or the very beginning.

    A run's own checkpoints come first: a continuation that was interrupted goes on
    where it was, not where it was branched from. Without one it goes back to the run
    that it was branched from. Nothing is changed.

    Args:
      run: the run.
      restore: directory of the run to start from, or None.
      resume: whether the run may exist already.

    Raises:
      ValueError: `restore` is not where the run started, or cannot be started from; the
        run's records do not go with its checkpoint.
    """
    resume = resume and run.folder is not None
    recorded = origin.recorded_origin(run.folder) if resume else None
    newest, notes = loop.newest(run) if resume else (None, ())
    has_state = newest is not None
    source = origin.find_source(run.folder, restore, recorded, has_state=has_state)
    for note in notes:
        after = "Going on from the one before." if newest else "Starting over."
        run.log(f"{note} {after}")
    if newest:
        records.read_epochs(run.folder, int(newest.state.epoch))  # none is missing
        return StartPoint(newest, recorded)
    if source is not None:
        return _start_from(run, source)
    if resume:
        run.log(f"{run.folder}: no whole checkpoint, so from the beginning.")
    return StartPoint(None)


def _start_from(run: SearchRun, folder: pathlib.Path) -> StartPoint:
    """The state of another run between two of its epochs."""
    stored_config(folder)
    # A state is taken over as it is, whatever batch has computed it.
    warn_of_changes(folder, run.log, width_of(folder))
    (progress, notes), epochs = _newest_of(run, folder), run.epochs
    for note in notes:
        run.log(f"{note} Starting from the one before.")
    state, done = progress.state, int(progress.state.epoch)
    if int(state.step):
        raise ValueError(
            f"{folder} was interrupted within epoch {done}. End that epoch first: "
            f"egnas search --out {folder} --resume --stop-after {done + 1}."
        )
    if done >= epochs:
        raise ValueError(
            f"{folder} has {done} epochs and this run will have {epochs}: nothing is "
            f"left to run. Set epochs to more."
        )
    stage = in_stage(run, progress.stage).stage
    if stage is not None and done > stage.end:
        raise ValueError(
            f"{folder} is in stage {stage.index + 1} after epoch {done}, but that of "
            f"this run ends with epoch {stage.end}. Set epochs and "
            f"strategy.stage_epochs to those of that run."
        )
    earlier = tuple(records.read_epochs(folder, done))
    began_at = origin.describe(folder, done, loop.state_digest(state))
    return StartPoint(progress, began_at, earlier)


def _newest_of(run: SearchRun, folder: pathlib.Path):
    try:
        progress, notes = loop.newest(run._replace(folder=folder))
    except ValueError as error:
        raise ValueError(
            f"{folder} cannot be restored under this configuration: {error}"
        ) from None
    if progress is None:
        raise ValueError(f"{folder} holds no whole checkpoint. {' '.join(notes)}")
    return progress, notes


@pinned()
def begin(run: SearchRun, start: StartPoint) -> Progress:
    """Brings records and checkpoints of a run to where it starts.

    Of several processes all start where the first does. They write a checkpoint at the
    beginning, so that a lost process always leaves one.
    """
    progress = _same_on_all(run, start.progress or beginning(run))
    if run.folder:
        metrics = run.folder / "metrics.jsonl"
        done = 0 if start.records else int(progress.state.epoch)
        records.keep_before(metrics, done)  # later epochs are run again
        for record in start.records:
            records.append(metrics, record)
    if start.records or (start.progress is None and jax.process_count() > 1):
        loop.save(run, progress)
    return progress


def _same_on_all(run: SearchRun, progress: Progress) -> Progress:
    """The progress of process 0, on every process; only it has read a checkpoint."""
    if jax.process_count() == 1:
        return progress
    metrics = processes.allgather_json(progress.metrics)[0]
    state = processes.broadcast_from_first(progress.state)
    return Progress(replicate(run.problem.net.mesh, state), metrics)
