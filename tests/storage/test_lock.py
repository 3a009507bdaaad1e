"""The lock of a directory, with flock and without."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import filelock
import pytest

from egnas_jax.storage import lock
from egnas_jax.storage.lock import has_flock, locked

HOLD = """
import errno, fcntl, pathlib, sys
from egnas_jax.storage import lock

def no_flock(descriptor, operation):
    raise OSError(errno.ENOLCK, "No locks available")

lock.LEASE = 2.0
if sys.argv[2] == "without":
    fcntl.flock = no_flock
with lock.locked(pathlib.Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def without_flock(monkeypatch):
    """A file system without flock, by its error number."""

    def patch(number):
        def no_flock(descriptor, operation):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", no_flock)
        monkeypatch.setattr(lock, "LEASE", 2.0)

    return patch


def hold(folder, flock):
    """A process that holds the lock of a folder until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), flock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("flock", ["with", "without"])
def test_a_taken_lock_names_its_file_and_owner(flock, tmp_path, without_flock):
    if flock == "without":
        without_flock(errno.ENOLCK)
    with hold(tmp_path, flock) as process:
        owner = json.loads((tmp_path / lock.OWNER).read_text())
        named = f"process {process.pid} on {os.uname().nodename} .*{owner['time'][:13]}"
        with (
            pytest.raises(ValueError, match=rf"{named}.*holds .*\.lock") as caught,
            locked(tmp_path, print),
        ):
            pass
        assert "Another process is writing" in str(caught.value)
        process.kill()
        process.wait()
        with locked(tmp_path, print):  # at once, since the process is known to be dead
            pass


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]
)
def test_a_file_system_without_flock_is_written_to(number, tmp_path, without_flock):
    without_flock(number)
    notes = []
    with locked(tmp_path, notes.append):
        assert (tmp_path / lock.LEASED).exists()
    with locked(tmp_path, notes.append):
        pass
    assert not (tmp_path / lock.LEASED).exists() and not notes


def test_the_lock_of_a_dead_node_is_taken_over(tmp_path, without_flock):
    without_flock(errno.ENOLCK)
    path = tmp_path / lock.LEASED
    with filelock.SoftFileLease(path, lease_duration=lock.LEASE):
        marker = path.read_text()
    lines = [
        "host=elsewhere" if line.startswith("host=") else line
        for line in marker.splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    notes = []
    with locked(tmp_path, notes.append):
        pass
    assert len(notes) == 1 and "Waiting for up to 2 s" in notes[0]


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path, without_flock):
    without_flock(errno.ENOLCK)
    (tmp_path / "file").touch()
    with pytest.raises(OSError), locked(tmp_path / "file", print):
        pass


def test_a_file_system_is_asked_for_its_flock(tmp_path, without_flock):
    folder = tmp_path / "cache"
    assert has_flock(folder)
    with filelock.FileLock(folder / lock.LOCK):
        assert has_flock(folder)
    (tmp_path / "file").touch()
    assert not has_flock(tmp_path / "file")
    without_flock(errno.ENOSYS)
    assert not has_flock(folder)
