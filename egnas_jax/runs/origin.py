"""Tells which run another one started from: restored.json, the option --restore."""

import pathlib
from collections.abc import Mapping

from egnas_jax.storage import records

FIELDS = ("run", "epoch", "digest")


def recorded_origin(folder: pathlib.Path) -> dict | None:
    """The content of restored.json; None for a run that started from no other.

    Args:
      folder: run directory.

    Raises:
      ValueError: the file was altered.
    """
    path = folder / "restored.json"
    if not path.exists():
        return None
    hint = "Start anew under another --out."
    origin = records.read_object(path, hint)
    try:
        return {name: origin[name] for name in FIELDS}
    except KeyError as missing:
        raise ValueError(f"{path} was altered: it holds no {missing}. {hint}") from None


def find_source(
    folder: pathlib.Path | None,
    restore: str | pathlib.Path | None,
    recorded: Mapping | None,
    *,
    has_state: bool,
) -> pathlib.Path | None:
    """The directory of the run to start from; None where the run starts from no other.

    A run that has begun keeps its origin. The origin may have been moved since: the
    digest of its last epoch shows that it is the same.

    Args:
      folder: run directory of the run that starts or goes on, or None.
      restore: directory of the run to start from, or None.
      recorded: the result of `recorded_origin`.
      has_state: whether the run has a whole checkpoint of its own, so that no other
        run is needed.

    Raises:
      ValueError: `restore` is not where the run started, or that run is gone.
    """
    if restore is not None:
        source = pathlib.Path(restore).resolve()
        if (recorded or has_state) and not _is_origin(source, recorded):
            began_at = recorded["run"] if recorded else "nothing"
            raise ValueError(
                f"{folder} started from {began_at}, not from {restore}. Leave "
                f"--restore out, or name another --out."
            )
        return source
    if recorded is None:
        return None
    source = pathlib.Path(recorded["run"])
    if not has_state and not source.exists():
        raise ValueError(
            f"{folder} has no whole checkpoint, and {source}, from which it started, "
            f"does not exist. If that run was moved, name it by --restore."
        )
    return source


def _is_origin(source: pathlib.Path, recorded: Mapping | None) -> bool:
    """Whether a run is the recorded one, by its place or by its last digest."""
    if recorded is None:
        return False
    if str(source) == recorded["run"]:
        return True
    lines = records.read(source / "metrics.jsonl")
    return bool(lines) and lines[-1].get("digest") == recorded["digest"]


def describe(folder: pathlib.Path, epoch: int, digest: str) -> dict:
    """The content of restored.json.

    Args:
      folder: run directory of the origin.
      epoch: number of its epochs that were done.
      digest: digest of its state after them.
    """
    return dict(zip(FIELDS, (str(folder.resolve()), epoch, digest), strict=True))
