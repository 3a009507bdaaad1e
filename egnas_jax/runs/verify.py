"""Replays epochs of a run and compares their digests with the recorded ones.

A run that was computed in a batch is replayed in a batch of as many members, all of
which are copies of it: no member depends on the others, and the same position in the
same programs gives it the same bits.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from egnas_jax.runs.batch import compiled_programs
from egnas_jax.runs.batch_members import BatchSetup, set_up_members
from egnas_jax.runs.batch_shape import BatchShape
from egnas_jax.runs.environment import Place, place_of, warn_of_changes
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.search import loop
from egnas_jax.search.member_epochs import make_batch, run_epoch, stacked
from egnas_jax.search.search_run import (
    Progress,
    SearchRun,
    beginning,
    compiled,
    in_stage,
    next_compiled,
    next_stage,
)
from egnas_jax.storage import checkpoint, records
from egnas_jax.storage.trackers import TRACKERS
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.program_cache import unmonitored

# (run, where it starts) -> the records of its next epochs, computed again
Replay = Callable[[SearchRun, Progress], Iterator[dict]]


class Verdict(NamedTuple):
    """The outcome of a replay.

    Attributes:
      first, last: epochs that were replayed, from 0.
      wrong: a sentence for each epoch whose digest differs.
    """

    first: int
    last: int
    wrong: tuple[str, ...]


@pinned()
def verify_run(
    config: SearchConfig,
    folder: pathlib.Path,
    *,
    data_dir: str | pathlib.Path | None,
    from_start: bool,
    on_epoch: Callable[[dict], None],
    log: Callable[[str], None],
) -> Verdict:
    """Replays a run as it was computed, alone or in a batch.

    Args:
      config: the configuration that the run has stored, with the place of its data.
      folder: its directory.
      data_dir: where to look for the data, or None for the usual places.
      from_start: replay every epoch.
      on_epoch: called with the record of each epoch.
      log: called with notes.

    Raises:
      ValueError: the data or the run cannot be used, see `verify`.
    """
    # a replay sends nothing to trackers, and needs none of their packages
    config = dataclasses.replace(config, **dict.fromkeys(TRACKERS, False))
    if config.shards is not None:  # any devices of this process give the digests
        config = dataclasses.replace(config, devices=None)
    place = place_of(folder)
    if not place.batched:
        setup = set_up_search(
            config, data_dir=data_dir, folder=folder, on_epoch=on_epoch, log=log
        )
        return verify(setup.run, from_start=from_start)
    batch = set_up_members(
        [config],
        [folder],
        {"data_dir": data_dir},
        on_epoch=lambda index, record: on_epoch(record),
        log=log,
    )
    replay = functools.partial(replayed_in_batch, batch, place)
    run = batch.setups[0].run
    return verify(run, from_start=from_start, replay=replay, width=place.members)


def replayed_alone(run: SearchRun, start: Progress) -> Iterator[dict]:
    """Yields the records of the next epochs of a run that is computed alone.

    Args:
      run: the search.
      start: where the first of these epochs begins.
    """
    run, start = next_stage(in_stage(run, start.stage), start)
    run = compiled(run)
    while True:
        run, start = next_compiled(run, start)
        state, record = loop.run_epoch(run, start)
        start = Progress(state, {})
        yield record


def replayed_in_batch(
    setup: BatchSetup, place: Place, run: SearchRun, start: Progress
) -> Iterator[dict]:
    """Yields the records of the next epochs of a run that is computed in a batch.

    Args:
      setup: of the one search.
      place: number of members of the batch, copies of the search; and its position.
      run: the search.
      start: where the first of these epochs begins.

    Raises:
      FloatingPointError: a loss is NaN or infinite.
    """
    programs = compiled_programs(setup, BatchShape(place.members), unmonitored)
    member = {place.position: setup.members[0]}
    batch = make_batch(programs, setup.images, member, place.members)
    state, metrics = stacked(batch, [start]), start.metrics
    while True:
        state, (end,) = run_epoch(batch, state, [metrics])
        if end.error is not None:
            raise end.error
        metrics = {}
        yield end.record


@pinned()
def verify(
    run: SearchRun,
    *,
    from_start: bool,
    replay: Replay = replayed_alone,
    width: int | None = None,
) -> Verdict:
    """Replays epochs of a run from its oldest checkpoint, or from the first epoch.

    Where no checkpoint is followed by an epoch, the replay starts from the beginning.

    Args:
      run: as `search_setup.set_up_search` makes it from the stored configuration.
      from_start: replay every epoch.
      replay: computes the epochs.
      width: searches that it computes together; None: it computes the run alone.

    Raises:
      ValueError: no epoch is finished, records of epochs are missing, or the start of
        the run is another run's.
    """
    lines = records.read_epochs(run.folder)
    if not lines:
        raise ValueError(f"{run.folder} has no finished epoch to verify.")
    records.read_epochs(run.folder, _known_epochs(run))  # none is missing
    warn_of_changes(run.folder, run.log, width)
    start = _start_of(run, len(lines), from_start)
    first, wrong = int(start.state.epoch), []
    for line, again in zip(lines[first:], replay(run, start), strict=False):
        if again["digest"] != line["digest"]:
            wrong.append(
                f"epoch {line['epoch']}: {line['digest'][:12]} was recorded, "
                f"{again['digest'][:12]} came out"
            )
        run.on_epoch(again)
    return Verdict(first, lines[-1]["epoch"], tuple(wrong))


def _start_of(run: SearchRun, epochs: int, from_start: bool) -> Progress:
    """Where the replay starts."""
    start = None if from_start else _oldest(run, epochs)
    if start is not None:
        return start
    if (run.folder / "restored.json").exists():
        raise ValueError(
            f"{run.folder} started from another run (restored.json), so its first "
            f"epochs cannot be replayed. Verify that run."
        )
    return beginning(run)


def _known_epochs(run: SearchRun) -> int:
    """Epochs that a run has finished, by its checkpoints and its summary."""
    newest, _ = loop.newest(run)
    path, epochs = run.folder / "summary.json", 0
    if path.exists():
        epochs = records.read_object(path, "The file was altered.").get("epochs", 0)
    return max(epochs, int(newest.state.epoch) if newest else 0)


def _oldest(run: SearchRun, epochs: int) -> Progress | None:
    """The oldest valid checkpoint with a finished epoch after it."""
    folder = run.folder / "checkpoints"
    for step in checkpoint.steps(folder):
        try:
            restored = loop.restore(run, step)
        except checkpoint.NoCheckpointError:
            continue
        if int(restored.tree.epoch) < epochs:
            return loop.progress_of(run, restored)
    return None
