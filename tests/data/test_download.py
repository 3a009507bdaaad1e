"""A download is complete or absent, and a dead network is noticed soon."""

import hashlib
import io
import os
import threading
import time
import urllib.error

import pytest

from egnas_jax.data.files import download

CONTENT = b"pixels" * 50_000
ARCHIVE = download.Archive(
    "https://example.org/a.tar.gz", hashlib.sha256(CONTENT).hexdigest()
)


def replace_urlopen(monkeypatch, open_fn):
    monkeypatch.setattr(download.urllib.request, "urlopen", open_fn)


def test_a_file_is_downloaded_once_under_its_name(monkeypatch, tmp_path):
    urls = []

    def open_fn(url, timeout):
        urls.append(url)
        return io.BytesIO(CONTENT)

    replace_urlopen(monkeypatch, open_fn)
    path = download.fetch(ARCHIVE, tmp_path / "new" / "cache")
    assert path.read_bytes() == CONTENT and path.name == "a.tar.gz"
    assert download.fetch(ARCHIVE, tmp_path / "new" / "cache") == path
    assert urls == [ARCHIVE.url]
    assert os.listdir(path.parent) == ["a.tar.gz"]


def test_a_damaged_file_in_the_cache_is_downloaded_again(monkeypatch, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(CONTENT[:-1])
    replace_urlopen(monkeypatch, lambda url, timeout: io.BytesIO(CONTENT))
    assert download.fetch(ARCHIVE, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("received", [b"", CONTENT[:-1], b"<html>log in</html>"])
def test_a_wrong_checksum_leaves_nothing_behind(monkeypatch, tmp_path, received):
    replace_urlopen(monkeypatch, lambda url, timeout: io.BytesIO(received))
    with pytest.raises(OSError, match="SHA-256"):
        download.fetch(ARCHIVE, tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), RuntimeError("strange proxy")]
)
def test_a_failure_to_connect_is_an_os_error(monkeypatch, tmp_path, error):
    def open_fn(url, timeout):
        raise error

    replace_urlopen(monkeypatch, open_fn)
    with pytest.raises(OSError, match="no route|strange proxy"):
        download.fetch(ARCHIVE, tmp_path)


def test_a_name_look_up_that_hangs_is_given_up(monkeypatch, tmp_path):
    release = threading.Event()

    def open_fn(url, timeout):
        release.wait(20)
        raise OSError("too late")

    replace_urlopen(monkeypatch, open_fn)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.1)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        download.fetch(ARCHIVE, tmp_path)
    assert time.monotonic() - start < 10
    release.set()


class StallingStream(io.BytesIO):
    """A stream whose connection is lost after 5,000 bytes."""

    def read1(self, size):
        chunk = super().read1(1000)
        if self.tell() > 5000:
            raise TimeoutError("timed out")
        return chunk


def test_a_stalled_stream_leaves_nothing_behind(monkeypatch, tmp_path):
    replace_urlopen(monkeypatch, lambda url, timeout: StallingStream(CONTENT))
    with pytest.raises(TimeoutError, match="timed out"):
        download.fetch(ARCHIVE, tmp_path)
    assert os.listdir(tmp_path) == []


class SlowStream(io.BytesIO):
    """A stream of one byte at a time, which does not stall."""

    def read1(self, size):
        time.sleep(0.02)
        return super().read1(1)


def test_a_stream_that_is_too_slow_is_given_up(monkeypatch, tmp_path):
    replace_urlopen(monkeypatch, lambda url, timeout: SlowStream(CONTENT))
    monkeypatch.setattr(download, "STALL_SECONDS", 0.1)
    with pytest.raises(TimeoutError, match="only"):
        download.fetch(ARCHIVE, tmp_path)


def test_the_time_limits_add_up_to_less_than_half_a_minute():
    # The worst case: connecting, then a slow stream that stalls just before the limit.
    assert download.CONNECT_SECONDS + 2 * download.STALL_SECONDS < 28
