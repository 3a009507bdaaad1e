"""Fetches an official archive, or says soon that it cannot.

A name server or a proxy that does not answer can hold a program for minutes, and no
socket time-out covers the name look-up. So the connection is opened in a thread that is
waited for only so long, and a stream that stalls or crawls is given up.
"""

import hashlib
import http.client
import os
import pathlib
import sys
import tempfile
import threading
import time
import urllib.request
from typing import NamedTuple

CONNECT_SECONDS = 10.0
STALL_SECONDS = 8.0
# Below this the archive would take more than three hours.
SLOWEST_BYTES_PER_SECOND = 16_000
CHUNK = 1 << 16


class Archive(NamedTuple):
    """A file on the net.

    Attributes:
      url: where.
      sha256: of the whole file, hexadecimal.
    """

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Last part of the URL."""
        return self.url.rsplit("/", 1)[1]


# Checksums as tensorflow-datasets lists them for the same files.
ARCHIVES = {
    "cifar10": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    "cifar100": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
}


def cache_folder() -> pathlib.Path:
    """Where downloads are kept: `egnas_jax/data` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "egnas_jax" / "data"


def fetch(archive: Archive, folder: pathlib.Path) -> pathlib.Path:
    """Path of the archive in `folder`; downloaded there if it is not yet whole.

    Args:
      archive: what to fetch.
      folder: made if it is missing. The file appears in it only when its checksum
        is right.

    Raises:
      OSError: no connection within `CONNECT_SECONDS`, a stream that stalls for
        `STALL_SECONDS` or crawls, a wrong checksum, or a folder that cannot be
        written.
    """
    target = folder / archive.file_name
    if target.is_file() and _sha256(target) == archive.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    response = _open(archive.url)
    print(f"Downloading {archive.url} to {folder}", file=sys.stderr, flush=True)
    with (
        response,
        tempfile.NamedTemporaryFile(dir=folder, prefix=".part-", delete=False) as part,
    ):
        try:
            digest = _copy(response, part)
            if digest != archive.sha256:
                raise OSError(f"the file received has the SHA-256 {digest}")
            part.flush()
            os.fsync(part.fileno())
            os.replace(part.name, target)
        except BaseException as error:  # Ctrl-C too leaves nothing behind
            os.unlink(part.name)
            if isinstance(error, http.client.HTTPException):
                raise OSError(f"the stream broke off ({error!r})") from error
            raise
    return target


def _open(url):
    """A response, or an OSError within `CONNECT_SECONDS` whatever the network does."""
    outcome = []

    def connect():
        try:
            outcome.append(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:  # handed to the thread that waits
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not outcome:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s")
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    if isinstance(outcome[0], Exception):  # e.g. an HTTPException
        raise OSError(str(outcome[0])) from outcome[0]
    return outcome[0]


def _copy(response, part):
    """Writes the stream to `part`; its SHA-256."""
    digest, received, start = hashlib.sha256(), 0, time.monotonic()
    while chunk := response.read1(CHUNK):
        part.write(chunk)
        digest.update(chunk)
        received += len(chunk)
        seconds = time.monotonic() - start
        if seconds > STALL_SECONDS and received < seconds * SLOWEST_BYTES_PER_SECOND:
            raise TimeoutError(f"only {received} bytes in {seconds:.0f} s")
    return digest.hexdigest()


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
