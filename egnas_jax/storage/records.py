"""What a run leaves behind in plain files: an append-only JSONL and atomic documents.

Lines of `metrics.jsonl` are appended and synced one by one; every other file appears
whole or not at all. All JSON is strict: NaN and infinities, which JSON cannot hold,
are written as null. Free of JAX, so that reports start quickly.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

Path = str | pathlib.Path


def plain(value: Any) -> Any:
    """`value` as JSON holds it: arrays as lists, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # numpy and JAX, scalars included
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def append(path: Path, record: Mapping) -> None:
    """Adds one line to a JSONL file; on the disk when this returns.

    A last line that an interruption tore is cut off first.

    Args:
      path: of the file, which need not exist yet; its folder must.
      record: one JSON object.

    Raises:
      TypeError: the record holds something JSON has no form for.
      OSError: the file cannot be written.
    """
    line = json.dumps(plain(record), allow_nan=False) + "\n"
    path = pathlib.Path(path)
    is_new = not path.exists()
    with open(path, "a+b") as file:
        file.seek(0)
        file.truncate(_whole_length(file.read()))
        file.write(line.encode())
        _sync(file)
    if is_new:
        _sync_folder(path.parent)


def read(path: Path) -> list[dict]:
    """Records of a JSONL file in order; none where the file does not exist.

    A last line without its end was being written when the run was killed: it is no
    record.

    Raises:
      ValueError: a whole line is not a JSON object.
    """
    return [record for _, record in _lines(pathlib.Path(path))]


def keep_before(path: Path, epoch: int) -> None:
    """Drops the records of `epoch` and later, and a torn last line; atomic.

    Raises:
      ValueError: a whole line is not a JSON object with an `epoch`.
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
    """Writes one JSON document, indented, as `write_text` does."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, syncs it and renames it into place.

    Raises:
      OSError: the file cannot be written; what was there before is untouched.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            _sync(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path):
    """Makes the names in a folder survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(file):
    file.flush()
    os.fsync(file.fileno())


def _whole_length(content: bytes) -> int:
    """Length of the content up to the end of its last whole line."""
    return content.rfind(b"\n") + 1


def _lines(path: pathlib.Path):
    """Whole lines of a JSONL file, each with what it says."""
    if not path.exists():
        return
    content = path.read_bytes()
    text = content[: _whole_length(content)].decode(errors="replace")
    # Not splitlines: that one also splits at characters that JSON strings may hold.
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
    """The lines of a run's metrics, of its first `epochs` (None: all), checked.

    Raises:
      ValueError: a line was altered, or one is missing.
    """
    path = folder / "metrics.jsonl"
    lines = read(path)
    lines = lines if epochs is None else lines[:epochs]
    for epoch, line in enumerate(lines):
        missing = {"epoch", "digest", "valid_accuracy", "seconds"} - set(line)
        if missing or line["epoch"] != epoch:
            raise ValueError(
                f"Line {epoch + 1} of {path} is not the record of epoch {epoch}. The "
                f"file was altered; restore it, or start anew under another --out."
            )
    if epochs is not None and len(lines) < epochs:
        raise ValueError(
            f"{path} holds {len(lines)} records, but the run has finished {epochs} "
            f"epochs. Restore the file, or start anew under another --out."
        )
    return lines


def read_object(path: Path, hint: str = "") -> dict:
    """Reads a file that holds one JSON object.

    Args:
      path: of the file.
      hint: what to do about a file that cannot be read; ends the message.

    Raises:
      ValueError: the file is missing or unreadable, or holds something else.
    """
    try:
        value = json.loads(pathlib.Path(path).read_text())
        if not isinstance(value, dict):
            raise TypeError("no JSON object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read as a JSON object ({type(error).__name__}). "
            f"{hint}".strip()
        ) from None
    return value
