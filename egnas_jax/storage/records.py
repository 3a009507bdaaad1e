"""Reads and writes the plain files of a run: append-only JSONL and atomic documents.

Each line of `metrics.jsonl` is appended and synced; every other file is replaced
completely or not at all. All JSON is strict: NaN and infinities, which JSON does not
have, become null. The module does not import JAX, so that reports start quickly.
"""

import errno
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from egnas_jax.storage.fence import check_fence

Path = str | pathlib.Path
# What a system says that cannot open a folder (Windows), or not flush it.
NO_FOLDER_SYNC = {
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.EINVAL,
    errno.EBADF,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
}


def plain(value: Any) -> Any:
    """`value` in the types of JSON: arrays become lists, NaN and infinities None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and JAX
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def append(path: Path, record: Mapping) -> None:
    """Adds a line to a JSONL file; the line is on the disk on return.

    An incomplete last line, which an interruption leaves, is removed first.

    Args:
      path: of the file, which need not exist yet; its folder must exist.
      record: one JSON object.

    Raises:
      TypeError: the record holds a value that JSON cannot represent.
      OSError: the file cannot be written.
    """
    line = json.dumps(plain(record), allow_nan=False) + "\n"
    path = pathlib.Path(path)
    check_fence()
    is_new = not path.exists()
    with open(path, "a+b") as file:
        file.seek(0)
        file.truncate(_complete_length(file.read()))
        file.write(line.encode())
        _flush(file)
    if is_new:
        sync(path.parent)


def read(path: Path) -> list[dict]:
    """The records of a JSONL file in order; an empty list if the file does not exist.

    An incomplete last line is skipped: the run was killed while it was being written.

    Raises:
      ValueError: a complete line is not a JSON object.
    """
    return [record for _, record in _lines(pathlib.Path(path))]


def keep_before(path: Path, epoch: int) -> None:
    """Removes the records of `epoch` and later, and an incomplete last line.

    The file is replaced atomically.

    Raises:
      ValueError: a complete line is not a JSON object with an `epoch`.
    """
    path = pathlib.Path(path)
    kept = []
    for line, record in _lines(path):
        if "epoch" not in record:
            raise ValueError(f"{path} has a record without an epoch: {line[:80]!r}.")
        if record["epoch"] < epoch:
            kept.append(line)
    if path.exists():
        write_text(path, "".join(line + "\n" for line in kept))


def write_json(path: Path, value: Any) -> None:
    """Writes one indented JSON document atomically, as `write_bytes` does."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, syncs it and renames it into place.

    Raises:
      OSError: the file cannot be written; an existing file is untouched.
    """
    check_fence()
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            _flush(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def unwritable(folder: Path, error: OSError) -> ValueError:
    """Returns the error for a user whose --out cannot be written.

    Args:
      folder: the folder that was to be written.
      error: the reason why it could not.
    """
    return ValueError(
        f"{folder} cannot be written ({error.strerror or error}). Name another --out."
    )


def sync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk.

    Windows and some network file systems cannot open or flush a folder; there a
    folder is not flushed.
    """
    is_folder = os.path.isdir(path)
    # Windows flushes only what was opened for writing
    mode = os.O_RDWR if os.name == "nt" and not is_folder else os.O_RDONLY
    try:
        descriptor = os.open(path, mode)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in NO_FOLDER_SYNC:
            raise


def _flush(file):
    file.flush()
    os.fsync(file.fileno())


def _complete_length(content: bytes) -> int:
    """Length of the content up to the end of its last complete line."""
    return content.rfind(b"\n") + 1


def _lines(path: pathlib.Path) -> Iterator[tuple[str, dict]]:
    """The complete lines of a JSONL file, each with its record."""
    if not path.exists():
        return
    content = path.read_bytes()
    text = content[: _complete_length(content)].decode(errors="replace")
    # `splitlines` would also split at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise ValueError(
                f"Line {number} of {path} is not a JSON object: {line[:80]!r}. "
                f"The file was altered; restore it, or remove that line."
            )
        yield line, record


def read_epochs(folder: pathlib.Path, epochs: int | None = None) -> list[dict]:
    """The records of a run's epochs, checked.

    Args:
      folder: of the run.
      epochs: how many epochs to read from the first one on, or None for all.

    Raises:
      ValueError: a record was altered, or one is missing.
    """
    path = folder / "metrics.jsonl"
    records = read(path)[:epochs]
    for epoch, record in enumerate(records):
        missing = {"epoch", "digest", "valid_accuracy", "seconds"} - set(record)
        if missing or record["epoch"] != epoch:
            raise ValueError(
                f"Line {epoch + 1} of {path} is not the record of epoch {epoch}. The "
                f"file was altered; restore it, or start anew under another --out."
            )
    if epochs is not None and len(records) < epochs:
        raise ValueError(
            f"{path} holds {len(records)} records, but the run has finished {epochs} "
            f"epochs. Restore the file, or start anew under another --out."
        )
    return records


def read_object(path: Path, hint: str = "") -> dict:
    """Reads a file that holds one JSON object.

    Args:
      path: of the file.
      hint: end of the error message: what to do about a file that cannot be read.

    Raises:
      ValueError: the file is missing or unreadable, or holds something else.
    """
    try:
        value = json.loads(pathlib.Path(path).read_text())
        if not isinstance(value, dict):
            raise TypeError("not a JSON object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read as a JSON object ({type(error).__name__}). "
            f"{hint}".strip()
        ) from None
    return value
