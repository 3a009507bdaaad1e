"""A run says under which settings it was computed, and where others are in force."""

import json
import os

import jax
import pytest

from egnas_jax.runs.environment import changed_settings, environment, warn_of_changes
from egnas_jax.storage import records


@pytest.fixture
def folder(tmp_path):
    """A directory with the environment of this process."""
    records.write_json(tmp_path / "environment.json", environment(None))
    return tmp_path


def notes_of(folder):
    notes = []
    warn_of_changes(folder, notes.append)
    return notes


def test_nothing_is_said_where_nothing_differs(folder):
    assert notes_of(folder) == []
    assert notes_of(folder / "none") == []


def test_a_setting_of_jax_that_differs_is_named(folder):
    with jax.default_matmul_precision("highest"):
        (note,) = notes_of(folder)
    assert "jax_default_matmul_precision: None -> 'highest'." in note
    assert f"{folder} was computed under other settings" in note


@pytest.mark.parametrize(
    "name",
    [
        *("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"),
        *("XLA_FLAGS", "NVIDIA_TF32_OVERRIDE"),
    ],
)
def test_a_variable_that_differs_is_named(name, folder, monkeypatch):
    before = json.loads((folder / "environment.json").read_text())["flags"][name]
    monkeypatch.setenv(name, before + "other")
    (note,) = notes_of(folder)
    assert f"{name}: {before!r} -> {before + 'other'!r}." in note


def test_another_processor_is_named(folder, monkeypatch):
    """Threads and kernels of BLAS follow from it."""
    stored = json.loads((folder / "environment.json").read_text())["processor"]
    assert stored["model"] and stored["cores"] >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(99)))
    (note,) = notes_of(folder)
    assert f"processor.cores: {stored['cores']} -> 99." in note


def test_versions_and_devices_count_and_time_and_place_do_not():
    stored = {"time": "then", "git": "a", "versions": {"jax": "0.9"}, "backend": "gpu"}
    now = {"time": "now", "git": "b", "versions": {"jax": "0.10"}, "backend": "cpu"}
    assert changed_settings(stored, now) == [
        "backend: 'gpu' -> 'cpu'",
        "versions.jax: '0.9' -> '0.10'",
    ]


def test_what_an_earlier_version_did_not_record_is_not_compared(folder):
    for stored in ({"time": "then"}, {"flags": {}}, {"matmul_precision": "None"}):
        records.write_json(folder / "environment.json", stored)
        assert notes_of(folder) == []
    (folder / "environment.json").write_text("[1]")
    assert notes_of(folder) == []
