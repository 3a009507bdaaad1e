"""Tests of the plain files of a run: JSONL records and atomic documents."""

import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.storage import records

LINES = [{"epoch": epoch, "loss": 1.0 / (epoch + 1)} for epoch in range(4)]


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for line in LINES:
        records.append(path, line)
    return path


def test_records_are_read_in_order(metrics):
    assert records.read(metrics) == LINES
    assert metrics.read_text().count("\n") == 4


def test_a_missing_file_has_no_records(tmp_path):
    assert records.read(tmp_path / "metrics.jsonl") == []
    records.keep_before(tmp_path / "metrics.jsonl", 0)
    assert list(tmp_path.iterdir()) == []


def test_nan_and_infinity_become_null_in_strict_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records.append(
        path, {"a": float("nan"), "b": [1.0, float("-inf")], "c": jnp.array(jnp.nan)}
    )
    assert path.read_text() == '{"a": null, "b": [1.0, null], "c": null}\n'


def test_arrays_and_array_scalars_become_plain_numbers(tmp_path):
    path = tmp_path / "x.json"
    records.write_json(
        path, {"n": np.int64(3), "f": jnp.float32(0.5), "l": np.ones(2), "t": (1, None)}
    )
    assert json.loads(path.read_text()) == {
        "n": 3,
        "f": 0.5,
        "l": [1.0, 1.0],
        "t": [1, None],
    }


@pytest.mark.parametrize("cut", [1, 2, 10, 25])
def test_an_incomplete_last_line_is_skipped(metrics, cut):
    metrics.write_bytes(metrics.read_bytes()[:-cut])
    assert records.read(metrics) == LINES[:3]


def test_appending_replaces_an_incomplete_last_line(metrics):
    metrics.write_bytes(metrics.read_bytes()[:-5])
    records.append(metrics, {"epoch": 3})
    assert records.read(metrics) == [*LINES[:3], {"epoch": 3}]


def test_unicode_line_separators_in_strings_do_not_end_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 0, "text": "a\u2028b"}\n', encoding="utf-8")
    assert records.read(path) == [{"epoch": 0, "text": "a\u2028b"}]


@pytest.mark.parametrize("line", ['{"epoch": 1, "lo', "[1]", ""])
def test_a_damaged_line_in_the_middle_is_named(metrics, line):
    lines = metrics.read_text().splitlines()
    lines[1] = line
    metrics.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="Line 2 of .*metrics.jsonl"):
        records.read(metrics)


@pytest.mark.parametrize("epoch", [0, 2, 4, 9])
def test_keep_before_removes_later_epochs(metrics, epoch):
    records.keep_before(metrics, epoch)
    assert records.read(metrics) == LINES[:epoch]
    assert [path.name for path in metrics.parent.iterdir()] == ["metrics.jsonl"]


def test_keep_before_preserves_bytes_and_removes_an_incomplete_line(metrics):
    metrics.write_text('{"epoch":0,  "x": 1e0}\n{"epoch": 1}\n{"ep')
    records.keep_before(metrics, 1)
    assert metrics.read_text() == '{"epoch":0,  "x": 1e0}\n'


def test_keep_before_refuses_a_record_without_an_epoch(metrics):
    records.append(metrics, {"loss": 1.0})
    before = metrics.read_bytes()
    with pytest.raises(ValueError, match="without an epoch"):
        records.keep_before(metrics, 1)
    assert metrics.read_bytes() == before


def test_a_failed_write_leaves_the_old_document(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    records.write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        records.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_values_that_json_cannot_represent_are_refused_before_writing(tmp_path):
    with pytest.raises(TypeError):
        records.append(tmp_path / "metrics.jsonl", {"a": object()})
    with pytest.raises(TypeError):
        records.write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "[" * 100_000, b"\xff"])
def test_read_object_says_that_a_file_holds_no_object(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"a\.json cannot be read .* Restore it\.$"):
        records.read_object(path, "Restore it.")


def test_read_object_returns_what_write_json_wrote(tmp_path):
    records.write_json(tmp_path / "a.json", {"b": [1, None]})
    assert records.read_object(tmp_path / "a.json") == {"b": [1, None]}


@pytest.mark.parametrize("call", ["open", "fsync"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EINVAL, errno.ENOTSUP])
def test_a_system_that_cannot_sync_folders_writes_files(
    call, number, tmp_path, monkeypatch
):
    """Windows cannot open a folder, some network file systems cannot sync one."""
    original = getattr(os, call)

    def of_files_alone(target, *arguments):
        if os.path.isdir(target):  # of a descriptor too
            raise OSError(number, os.strerror(number))
        return original(target, *arguments)

    monkeypatch.setattr(records.os, call, of_files_alone)
    records.append(tmp_path / "metrics.jsonl", {"epoch": 0})
    records.write_json(tmp_path / "a.json", {"a": 1})
    assert records.read(tmp_path / "metrics.jsonl") == [{"epoch": 0}]
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("is_folder, number", [(True, 5), (False, errno.EINVAL)])
def test_other_errors_of_a_sync_are_raised(is_folder, number, tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "file"
    path.touch()
    monkeypatch.setattr(records.os, "fsync", fail)
    with pytest.raises(OSError):
        records.sync(tmp_path if is_folder else path)
