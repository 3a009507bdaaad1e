"""Replays epochs of a run and compares their digests with the recorded ones."""

from typing import NamedTuple

from egnas_jax.runs.environment import warn_of_changes
from egnas_jax.search import loop
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.jax_settings import pinned


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
def verify(run: loop.SearchRun, *, from_start: bool) -> Verdict:
    """Replays epochs of a run from its oldest checkpoint, or from the first epoch.

    Where no checkpoint is followed by an epoch, the replay starts from the beginning.

    Args:
      run: as `search_setup.set_up_search` makes it from the stored configuration.
      from_start: replay every epoch.

    Raises:
      ValueError: no epoch is finished, records of epochs are missing, or the start of
        the run is another run's.
    """
    lines = records.read_epochs(run.folder)
    if not lines:
        raise ValueError(f"{run.folder} has no finished epoch to verify.")
    records.read_epochs(run.folder, _known_epochs(run))  # none is missing
    warn_of_changes(run.folder, run.log)
    start = None if from_start else _oldest(run, len(lines))
    if start is None:
        if (run.folder / "restored.json").exists():
            raise ValueError(
                f"{run.folder} started from another run (restored.json), so its first "
                f"epochs cannot be replayed. Verify that run."
            )
        start = loop.beginning(run)
    first, wrong = int(start.state.epoch), []
    run, start = loop.next_stage(loop.in_stage(run, start.stage), start)
    run = loop.compiled(run)
    for line in lines[first:]:
        run, start = loop.next_compiled(run, start)
        state, again = loop.run_epoch(run, start)
        start = loop.Progress(state, {})
        if again["digest"] != line["digest"]:
            wrong.append(
                f"epoch {line['epoch']}: {line['digest'][:12]} was recorded, "
                f"{again['digest'][:12]} came out"
            )
        run.on_epoch(again)
    return Verdict(first, lines[-1]["epoch"], tuple(wrong))


def _known_epochs(run: loop.SearchRun) -> int:
    """Epochs that a run has finished, by its checkpoints and its summary."""
    newest, _ = loop.newest(run)
    path, epochs = run.folder / "summary.json", 0
    if path.exists():
        epochs = records.read_object(path, "The file was altered.").get("epochs", 0)
    return max(epochs, int(newest.state.epoch) if newest else 0)


def _oldest(run: loop.SearchRun, epochs: int) -> loop.Progress | None:
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
