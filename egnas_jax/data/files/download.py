"""Downloads official archives, and gives up soon on a network that does not answer.

A name server or a proxy that does not answer can block a program for minutes, and a
socket time-out does not cover the name look-up. The connection is therefore opened in a
thread with a time limit, and a stream that stalls or is too slow is given up.
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
# At a lower rate an archive would take more than three hours.
SLOWEST_BYTES_PER_SECOND = 16_000
CHUNK = 1 << 16  # bytes


class Archive(NamedTuple):
    """A file on the internet.

    Attributes:
      url: its address.
      sha256: of its contents, hexadecimal.
    """

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The last part of the URL."""
        return self.url.rsplit("/", 1)[1]


# Checksums are those that tensorflow-datasets lists for the same files.
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
    """The folder for downloads: `egnas_jax/data` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "egnas_jax" / "data"


def fetch(archive: Archive, folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of the archive in `folder`, and downloads it if necessary.

    Args:
      archive: what to download.
      folder: created if it does not exist. The file appears in it only after its
        checksum was verified.

    Raises:
      OSError: there is no connection within `CONNECT_SECONDS`, the stream stalls for
        `STALL_SECONDS` or is too slow, the checksum is wrong, or the folder cannot be
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
                raise OSError(f"the downloaded file has the SHA-256 {digest}")
            part.flush()
            os.fsync(part.fileno())
            os.replace(part.name, target)
        except BaseException as error:  # includes Ctrl-C, which must not leave a file
            os.unlink(part.name)
            if isinstance(error, http.client.HTTPException):
                raise OSError(f"the stream broke off ({error!r})") from error
            raise
    return target


def _open(url):
    """The response, or an OSError after `CONNECT_SECONDS` at the latest."""
    outcome = []

    def connect():
        try:
            outcome.append(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:  # raised again in the waiting thread
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not outcome:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s")
    response_or_error = outcome[0]
    if isinstance(response_or_error, OSError):
        raise response_or_error
    if isinstance(response_or_error, Exception):  # for example an HTTPException
        raise OSError(str(response_or_error)) from response_or_error
    return response_or_error


def _copy(response, part):
    """Writes the stream to the file `part` and returns its SHA-256."""
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
