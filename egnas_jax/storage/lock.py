"""Keeps a directory for one process at a time, also where its file system has no flock.

The operating system releases a flock when its process ends, even by `kill -9`. Lustre
and NFS may be mounted without it. There the lock is a file that its owner refreshes
(a lease of `filelock`): another process takes it over once it was not refreshed for
`LEASE` seconds, so the death of a node blocks nobody for ever. Who holds the lock is
written beside it, for the message to a process that finds it taken.
"""

import contextlib
import json
import os
import pathlib
import platform
from collections.abc import Callable, Iterator

import filelock

from egnas_jax.storage import records
from egnas_jax.storage.process_identity import this_process

LEASE = 60.0  # seconds; a lease is refreshed every third of it
LOCK, LEASED, OWNER = ".lock", ".lock.lease", ".lock.owner"  # files in the directory


class DirectoryTakenError(ValueError):
    """Another process is writing to the directory."""


@contextlib.contextmanager
def locked(folder: pathlib.Path, log: Callable[[str], None]) -> Iterator[None]:
    """Context that keeps other processes from a directory.

    Args:
      folder: an existing directory.
      log: called with a note where the context has to wait, or loses the lock.

    Raises:
      DirectoryTakenError: another process holds the lock; names it and the file.
      OSError: the directory cannot be written.
    """
    lock = _acquired(folder, log)
    try:
        records.write_json(folder / OWNER, this_process())
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / OWNER).unlink()
        lock.release()


def has_flock(folder: pathlib.Path) -> bool:
    """Returns whether processes can lock files of a directory; creates the directory.

    False also where the directory cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / LOCK, timeout=0, fallback_to_soft=False):
            return True
    except filelock.Timeout:  # another process asks
        return True
    except OSError:
        return False


def _acquired(folder: pathlib.Path, log: Callable[[str], None]):
    """The lock of a directory: a flock, or else a lease."""
    lock = filelock.FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
        return lock
    except filelock.Timeout:
        raise _taken(folder, folder / LOCK) from None
    except PermissionError:
        raise
    except OSError:  # ENOLCK, ENOSYS and others; an unwritable folder fails again below
        return _acquired_lease(folder, log)


def _acquired_lease(folder: pathlib.Path, log: Callable[[str], None]):
    path = folder / LEASED

    def warn(loss: filelock.LeaseCompromise) -> None:
        log(
            f"The lock {path} was lost ({loss.reason}): this process did not refresh "
            f"it for {LEASE:.0f} s. Make sure that no other process writes to {folder}."
        )

    lease = filelock.SoftFileLease(path, lease_duration=LEASE, on_compromise=warn)
    try:
        lease.acquire(timeout=0)
        return lease
    except filelock.Timeout:
        log(
            f"{_owner(folder)} holds {path}. Waiting for up to {LEASE:.0f} s to see "
            f"whether that process still refreshes it."
        )
    try:
        lease.acquire(timeout=1.25 * LEASE, poll_interval=min(1.0, LEASE / 20))
        return lease
    except filelock.Timeout:
        raise _taken(folder, path) from None


def _taken(folder: pathlib.Path, path: pathlib.Path) -> DirectoryTakenError:
    return DirectoryTakenError(
        f"Another process is writing to {folder}: {_owner(folder)} holds {path}. Wait "
        f"for its end, or name another --out."
    )


def is_taken(folder: pathlib.Path) -> bool:
    """Returns whether a process seems to write to a directory; takes no lock.

    Such a process has written its name there and, if it is on this machine, is alive.
    """
    try:
        owner = json.loads((folder / OWNER).read_bytes())
        if owner["host"] == platform.node():
            os.kill(int(owner["pid"]), 0)
        return True
    except PermissionError:  # it is alive, and another user's
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _owner(folder: pathlib.Path) -> str:
    """Who holds the lock, as far as that was written down."""
    try:
        owner = json.loads((folder / OWNER).read_bytes())
        return f"process {owner['pid']} on {owner['host']} (since {owner['time']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not named itself"
