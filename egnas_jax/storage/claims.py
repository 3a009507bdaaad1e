"""Decides which of many processes, on any hosts, holds a unit of work.

The folder of a unit holds its events, files numbered from 1: claimed, released, failed
or done, each with its process. Events are only added, each under the number after the
last one. Of several processes that try this at once, the file system lets exactly one
succeed. Everything else follows: two processes never hold the same claim; a newer claim
can take over an older one; the former holder notices, because the number after its own
is taken; and it cannot end the claim that it lost, because the end is an event, too.

A holder also rewrites a small file, its heartbeat. The clocks of hosts differ, so
nobody reads a time from it: `Heartbeats` measures by its own clock how long the
contents have not changed.

This works on file systems that keep hard links, or the exclusive creation of files,
atomic between hosts: local ones, NFS, Lustre, GPFS, CephFS. Mounted object stores
promise neither.
"""

import contextlib
import errno
import json
import os
import pathlib
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from egnas_jax.storage.process_identity import this_process

MISSED = 3  # beats after which a process may count as lost, at the least
CLAIMED, RELEASED, FAILED, DONE = "claimed", "released", "failed", "done"
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class ClaimLostError(RuntimeError):
    """Another process has taken the unit over; this one may not write any more."""


class Event(NamedTuple):
    """One event of a unit.

    Attributes:
      number: from 1.
      kind: CLAIMED, RELEASED, FAILED or DONE.
      details: "host", "pid", "time", and what the process added. Empty for a file that
        cannot be read, which counts as a claim.
    """

    number: int
    kind: str
    details: Mapping[str, Any]

    @property
    def process(self) -> str:
        """The process that wrote it, "HOST:PID"."""
        return f"{self.details.get('host', '?')}:{self.details.get('pid', '?')}"


def read_events(folder: pathlib.Path) -> list[Event]:
    """Returns the events of a unit, in order; none where there is no folder."""
    return [_read(folder, number) for number in range(1, _last(folder) + 1)]


def add_event(
    folder: pathlib.Path, number: int, kind: str, details: Mapping[str, Any]
) -> bool:
    """Adds an event; returns whether this process was the one to add that number.

    Args:
      folder: of the unit, made where it is missing.
      number: number of the new event: that of the last known one plus 1.
      kind: CLAIMED, RELEASED, FAILED or DONE.
      details: JSON object that the event holds besides host, pid and time.

    Raises:
      OSError: the folder cannot be written.
    """
    content = {"kind": kind, **this_process(), **details}
    folder.mkdir(parents=True, exist_ok=True)
    return _create(_path(folder, number), json.dumps(content, indent=2) + "\n")


class Claim:
    """The claim of a unit by this process.

    Args:
      folder: of the unit.
      number: of the event that claimed it.
    """

    def __init__(self, folder: pathlib.Path, number: int):
        self.folder = folder
        self.number = number

    def check(self) -> None:
        """Raises ClaimLostError where another process has taken the unit over."""
        if _last(self.folder) > self.number:
            taker = _read(self.folder, self.number + 1)
            raise ClaimLostError(
                f"{taker.process} has taken {self.folder} over, because this process "
                f"gave no sign of life. It stops here, without writing any more."
            )

    def end(self, kind: str, **details: Any) -> None:
        """Ends the claim by adding an event.

        Raises:
          ClaimLostError: another process has taken the unit over.
        """
        if not add_event(self.folder, self.number + 1, kind, details):
            self.check()
            raise ClaimLostError(f"{self.folder} was taken over.")

    def fail(self, error: Exception) -> None:
        """Ends the claim with an error.

        Raises:
          ClaimLostError: another process has taken the unit over.
        """
        text = "".join(traceback.format_exception(error))
        message = f"{type(error).__name__}: {error}"
        self.end(FAILED, message=message, traceback=text)

    @contextlib.contextmanager
    def beating(self, seconds: float) -> Iterator[None]:
        """Context in which a thread writes the heartbeat.

        Args:
          seconds: between two beats.
        """
        ended = threading.Event()
        path = beat_path(self.folder, self.number)

        def beat() -> None:
            count = 0
            while True:
                with contextlib.suppress(OSError):  # the next beat may succeed
                    _overwrite(path, f"{count:12d}\n".encode())
                count += 1
                if ended.wait(seconds):
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        _HELD.add(self)
        try:
            yield
        finally:
            _HELD.discard(self)
            ended.set()
            thread.join()


_HELD: set[Claim] = set()  # the claims of this process


def give_back_held() -> None:
    """Releases the claims of this process, which ends without unwinding its stack."""
    for claim in tuple(_HELD):
        with contextlib.suppress(ClaimLostError, OSError):
            claim.end(RELEASED, reason="the process ended itself")


class Heartbeats:
    """Remembers heartbeats, to tell which claims are held by processes that are alive.

    Args:
      stale: seconds without a change after which a process counts as lost.
      clock: returns seconds.
    """

    def __init__(self, stale: float, clock: Callable[[], float] = time.monotonic):
        self.stale = stale
        self.clock = clock
        self.seen: dict[tuple[pathlib.Path, int], tuple[bytes, float]] = {}

    def is_stale(self, folder: pathlib.Path, number: int, beat: float = 0.0) -> bool:
        """Whether the holder of a claim has not changed its heartbeat for too long.

        The time counts from the first look at a claim.

        Args:
          folder: of the unit.
          number: of the event that claimed it.
          beat: seconds between two heartbeats of the holder, which may miss `MISSED`.
        """
        try:
            content = beat_path(folder, number).read_bytes()
        except OSError:  # no beat yet
            content = b""
        now, key = self.clock(), (folder, number)
        before, since = self.seen.get(key, (None, now))
        if content != before:
            since = now
        self.seen[key] = content, since
        return now - since >= max(self.stale, MISSED * beat)


def beat_path(folder: pathlib.Path, number: int) -> pathlib.Path:
    """Returns the file with the heartbeat of a claim."""
    return folder / f"{number:06d}.beat"


def _path(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number:06d}.json"


def _last(folder: pathlib.Path) -> int:
    """Number of the last event, 0 where there is none.

    The folder is listed, since NFS may remember for half a minute that a single file
    does not exist, but asks for the entries of a folder that is opened.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return max((int(stem) for stem in stems if stem.isdecimal()), default=0)


def _read(folder: pathlib.Path, number: int) -> Event:
    try:
        content = json.loads(_path(folder, number).read_bytes())
        return Event(number, content.pop("kind"), content)
    except (OSError, ValueError, AttributeError, KeyError):
        return Event(number, CLAIMED, {})


def _create(path: pathlib.Path, text: str) -> bool:
    """Creates a file whose name only one process gets; False where it is taken.

    The file appears with its contents, by a hard link. Where there are no links it is
    created exclusively and then filled.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        _overwrite(temporary, text.encode())
        os.link(temporary, path)
    except FileExistsError:
        # a server that made the link and lost its answer is asked again
        return os.stat(temporary).st_nlink == 2
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_exclusively(path, text)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _create_exclusively(path: pathlib.Path, text: str) -> bool:
    try:
        with open(path, "xb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _overwrite(path: pathlib.Path, content: bytes) -> None:
    """Writes over the beginning of a file, which is never empty in between."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
