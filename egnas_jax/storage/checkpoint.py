"""Saves and restores checkpoints with orbax, and adds what orbax lacks.

orbax writes a checkpoint under a temporary name and renames it, so a killed process
leaves the earlier checkpoints intact. But it restores an altered byte silently, does
not fall back to an earlier checkpoint, and skips a step that already exists. So this
module stores a sha256 with each checkpoint, tries the newest checkpoint first and then
the earlier ones, and numbers the directories upwards. The step is stored inside a
checkpoint: it equals the number of the directory until a run falls back and writes a
step again.

All leaves are stored as one array of bytes, because orbax is slow with many small
arrays. Saving 1,300 leaves of 16 x 16 float32 on 2 CPU cores takes 0.03 s this way, and
1.0 s with one orbax array for each leaf.

No other module imports orbax. The import takes half a second, so it is inside a
function.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from egnas_jax.storage import leaves
from egnas_jax.storage.fence import check_fence
from egnas_jax.storage.leaves import digest
from egnas_jax.storage.records import sync
from egnas_jax.types import PyTree

__all__ = ["NoCheckpointError", "Restored", "digest", "restore", "save", "steps"]

UNFINISHED = ".orbax-checkpoint-tmp"  # orbax's suffix for a step that is being written


class Restored(NamedTuple):
    """A checkpoint as it was saved.

    Attributes:
      step: the number under which it was saved.
      tree: the arrays, with the structure of the target.
      meta: the JSON object that was saved with it.
      notes: one sentence for each newer checkpoint that is damaged.
    """

    step: int
    tree: PyTree
    meta: dict[str, Any]
    notes: tuple[str, ...]


class NoCheckpointError(ValueError):
    """There is no valid checkpoint.

    Attributes:
      notes: one sentence for each damaged checkpoint; empty if none was finished.
    """

    def __init__(self, message: str, notes: tuple[str, ...]):
        super().__init__(message)
        self.notes = notes


class DamagedError(Exception):
    """A checkpoint differs from what was saved."""


def save(
    directory: str | pathlib.Path,
    step: int,
    tree: PyTree,
    meta: dict[str, Any],
    *,
    keep: int = 2,
) -> None:
    """Writes a checkpoint, which is complete and on the disk on return.

    Afterwards the oldest checkpoints are removed, and those of the same or a later
    step, which remain when a run falls back. Only one process may write to a directory
    at a time.

    Args:
      directory: of all checkpoints of a run; created if it is missing.
      step: from 0.
      tree: arrays of JAX or numpy.
      meta: a JSON object.
      keep: how many checkpoints remain, this one included.

    Raises:
      ValueError: keep is below 1, step is below 0, or a leaf is not an array of
        numbers.
      OSError: the checkpoint could not be written; the earlier ones are untouched.
    """
    if keep < 1 or step < 0:
        raise ValueError(f"keep is {keep} (at least 1), step {step} (at least 0).")
    arrays = leaves.host_arrays(tree)
    description = {
        "step": step,
        "meta": meta,
        "leaves": [[path, *leaves.layout_of(array)] for path, array in arrays.items()],
        "digest": leaves.digest_of(arrays),
    }
    description["checksum"] = _checksum(description)
    content = b"".join(array.tobytes() for array in arrays.values())
    folder = pathlib.Path(directory).absolute()
    check_fence()
    folder.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder)
    number = max([step, *(last + 1 for last in _numbers(folder))])
    try:
        _write(folder, number, content, description)
    except Exception as error:
        _remove_unfinished(folder)  # frees the space on a full disk
        if isinstance(error, OSError):
            raise
        raise _as_os_error(error, folder / str(number)) from error
    _sync_tree(folder / str(number))
    sync(folder)
    check_fence()  # writing took a while, and this removes later checkpoints
    _prune(folder, number, step, keep)


def steps(directory: str | pathlib.Path) -> list[int]:
    """Steps of the checkpoints whose description is valid, lowest first."""
    folder = pathlib.Path(directory).absolute()
    valid = {_step_of(folder, number) for number in _numbers(folder)}
    return sorted(valid - {None})


def restore(
    directory: str | pathlib.Path,
    target: PyTree | Callable[[dict[str, Any]], PyTree],
    *,
    step: int | None = None,
) -> Restored:
    """The newest checkpoint whose leaves have the sha256 that was saved with them.

    Args:
      directory: of all checkpoints of a run.
      target: a tree with the structure, dtypes and shapes that were saved; leaves may
        be `jax.ShapeDtypeStruct`s. Or a function `meta -> tree`, for a run whose
        checkpoints differ in structure.
      step: the step to restore, or None for the newest.

    Returns:
      The checkpoint; all leaves of its tree are arrays of JAX.

    Raises:
      NoCheckpointError: there is no checkpoint, or all are damaged.
      ValueError: a valid checkpoint holds another structure than the target.
    """
    folder = pathlib.Path(directory).absolute()
    notes: list[str] = []
    for number in reversed(_numbers(folder)):
        path = folder / str(number)
        try:
            description = _read_description(folder, number)
            if step not in (None, description["step"]):
                continue
            arrays = _read_leaves(folder, number, description)
        except Exception as error:  # damage can make orbax raise anything
            notes.append(f"Checkpoint {path} is damaged ({_brief(error)}).")
            continue
        layout = target(description["meta"]) if callable(target) else target
        leaves.check_fit(path, arrays, layout)
        tree = leaves.fill(layout, arrays)
        return Restored(description["step"], tree, description["meta"], tuple(notes))
    which = "" if step is None else f" of step {step}"
    message = f"No valid checkpoint{which} in {folder}. {' '.join(notes)}"
    raise NoCheckpointError(message.strip(), tuple(notes))


def _checksum(description) -> str:
    """Sha256 of a description, in the form that JSON restores."""
    content = {name: part for name, part in description.items() if name != "checksum"}
    text = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _manager(folder: pathlib.Path, *, read_only: bool):
    """Module `orbax.checkpoint.args` and a manager, with warnings and logs disabled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import orbax.checkpoint as ocp

        logger = logging.getLogger("absl")
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        this = jax.process_index()  # else orbax would wait for the other processes
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False,
            read_only=read_only,
            create=False,
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=this, active_processes={this}
            ),
        )
        try:
            with ocp.CheckpointManager(folder, options=options) as manager:
                yield ocp.args, manager
        finally:
            logger.setLevel(level)


def _write(folder: pathlib.Path, number: int, content: bytes, description: dict):
    with _manager(folder, read_only=False) as (args, manager):
        # The final byte is a filler, since orbax does not write an empty array.
        state = {"leaves": np.frombuffer(content + b"\0", np.uint8)}
        items = args.Composite(
            state=args.StandardSave(state), record=args.JsonSave(description)
        )
        if not manager.save(number, args=items):
            raise OSError(f"Checkpoint {folder / str(number)} was not written.")


def _read_description(folder: pathlib.Path, number: int) -> dict:
    """The description of a checkpoint; raises DamagedError if its checksum differs."""
    with _manager(folder, read_only=True) as (args, manager):
        items = args.Composite(record=args.JsonRestore())
        description = manager.restore(number, args=items)["record"]
    if _checksum(description) != description["checksum"]:
        raise DamagedError("its description was altered")
    return description


def _read_leaves(folder: pathlib.Path, number: int, description: dict):
    """The arrays of a checkpoint; raises DamagedError if their sha256 differs."""
    with _manager(folder, read_only=True) as (args, manager):
        items = args.Composite(state=args.StandardRestore())
        buffer = np.asarray(manager.restore(number, args=items)["state"]["leaves"])
    arrays = leaves.unpack(description["leaves"], buffer)
    if leaves.digest_of(arrays) != description["digest"]:
        raise DamagedError("the sha256 of its leaves differs")
    return arrays


def _step_of(folder: pathlib.Path, number: int) -> int | None:
    """The step of a checkpoint; None if its description is damaged."""
    try:
        return _read_description(folder, number)["step"]
    except Exception:  # damage can make orbax raise anything
        return None


def _numbers(folder: pathlib.Path) -> list[int]:
    """Numbers of the finished checkpoints, in the order in which they were written."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def _prune(folder: pathlib.Path, newest: int, step: int, keep: int):
    """Removes all checkpoints except the newest and `keep - 1` valid earlier ones."""
    earlier = []
    for number in _numbers(folder):
        its_step = _step_of(folder, number)
        if number != newest and its_step is not None and its_step < step:
            earlier.append(number)
    kept = {newest, *earlier[len(earlier) - (keep - 1) :]}
    for number in set(_numbers(folder)) - kept:
        # Renamed first, so that a kill does not leave half a checkpoint.
        (folder / str(number)).rename(folder / f"{number}{UNFINISHED}")
    _remove_unfinished(folder)


def _remove_unfinished(folder: pathlib.Path):
    """Removes what interrupted processes left."""
    for path in folder.glob(f"*{UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _sync_tree(folder: pathlib.Path):
    """Flushes all files and directories below a folder to the disk."""
    for parent, _, files in os.walk(folder):
        for path in [*(os.path.join(parent, name) for name in files), parent]:
            sync(path)


def _as_os_error(error: Exception, path: pathlib.Path) -> OSError:
    """The OSError behind an error of orbax; tensorstore raises it as a ValueError."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return OSError(int(code[1]), os.strerror(int(code[1])), str(path))
    return OSError(f"Checkpoint {path} could not be written: {_brief(error)}")


def _brief(error: Exception) -> str:
    """Type and first words of a long error message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
