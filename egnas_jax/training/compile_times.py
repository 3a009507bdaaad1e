"""Remembers how long programs took to compile, so that the next start can say so.

The times are kept in a file in the folder of JAX's compilation cache. They are
estimates: no result depends on them, and a file that cannot be read or written is left
alone.
"""

import contextlib
import json
import os
import pathlib

FILE = "compile_seconds.json"
KEPT = 200  # entries


def recall(folder: pathlib.Path | None, key: str) -> float | None:
    """The seconds that were remembered last under a key, or None.

    Args:
      folder: of the cache, which holds the file; None: there is none.
      key: what was compiled.
    """
    seconds = _read(folder).get(key)
    return float(seconds) if isinstance(seconds, int | float) else None


def remember(folder: pathlib.Path | None, key: str, seconds: float) -> None:
    """Stores the seconds under a key; the oldest entries make room.

    Args:
      folder, key: see `recall`.
      seconds: wall-clock time.
    """
    if folder is None:
        return
    times = _read(folder)
    times.pop(key, None)
    times[key] = round(seconds, 1)
    times = dict(list(times.items())[-KEPT:])
    scratch = folder / f"{FILE}.{os.getpid()}"
    try:
        scratch.write_text(json.dumps(times))
        os.replace(scratch, folder / FILE)
    except OSError:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def _read(folder: pathlib.Path | None) -> dict:
    if folder is None:
        return {}
    try:
        times = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return times if isinstance(times, dict) else {}
