"""Where a search begins: with nothing, its own newest checkpoint, or another run's."""

import json
import pathlib
from typing import NamedTuple

from egnas_jax.runs.directory import stored_config
from egnas_jax.search import loop
from egnas_jax.storage import records


class Start(NamedTuple):
    """Where a run begins or goes on.

    Attributes:
      progress: None where it begins with its first epoch.
      origin: restored.json, what is known of the run that it started from; or None.
      lines: that run's records of the epochs before, where the new run begins now.
    """

    progress: loop.Progress | None
    origin: dict | None = None
    lines: tuple[dict, ...] = ()


def find_start(run: loop.Run, source: str | None, *, resume: bool) -> Start:
    """The run's own newest checkpoint, or another run's, or the very beginning.

    A run's own checkpoints come first: a continuation that was interrupted goes on
    where it was, not where it was branched from. Without one it goes back to the run
    that it was branched from.

    Args:
      run: the run; nothing of it is changed.
      source: directory of the run to start from, or None.
      resume: whether the run may exist already.

    Raises:
      ValueError: `source` is not where the run started, or cannot be started from; the
        run's records do not go with its checkpoint.
    """
    recorded = _recorded_origin(run.folder) if resume else None
    own, notes = loop.newest(run) if resume else (None, ())
    began_at = recorded and recorded["run"]
    given = source and str(pathlib.Path(source).resolve())
    if given and given != began_at and (began_at or own):
        raise ValueError(
            f"{run.folder} started from {began_at or 'nothing'}, not from {source}. "
            f"Leave --restore out, or name another --out."
        )
    for note in notes:
        after = "Going on from the one before." if own else "Starting over."
        run.report(f"{note} {after}")
    if own:
        records.read_epochs(run.folder, int(own.state.epoch))
        return Start(own, recorded)
    if given or began_at:
        return _from_other(run, pathlib.Path(given or began_at))
    if resume:
        run.report(f"{run.folder}: no whole checkpoint, so from the beginning.")
    return Start(None)


def _recorded_origin(folder: pathlib.Path) -> dict | None:
    path = folder / "restored.json"
    if not path.exists():
        return None
    try:
        origin = json.loads(path.read_text())
        return {name: origin[name] for name in ("run", "epoch", "digest")}
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} was altered: it should say where {folder} was restored from. "
            f"Start anew under another --out."
        ) from None


def _from_other(run: loop.Run, folder: pathlib.Path) -> Start:
    """The state of another run between two of its epochs."""
    stored_config(folder)
    (progress, notes), epochs = _newest_of(run, folder), run.sgd.epochs
    for note in notes:
        run.report(f"{note} Starting from the one before.")
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
    lines = tuple(records.read_epochs(folder, done))
    origin = {"run": str(folder), "epoch": done, "digest": loop.state_digest(state)}
    return Start(progress, origin, lines)


def _newest_of(run: loop.Run, folder: pathlib.Path):
    try:
        progress, notes = loop.newest(run._replace(folder=folder))
    except ValueError as error:
        raise ValueError(
            f"{folder} cannot be restored under this configuration: {error}"
        ) from None
    if progress is None:
        raise ValueError(f"{folder} holds no whole checkpoint. {' '.join(notes)}")
    return progress, notes
