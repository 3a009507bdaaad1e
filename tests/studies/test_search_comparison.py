"""Tables of a sweep, by numbers computed by hand."""

import json
import pathlib
import types

import pytest

from egnas_jax.studies.search_comparison import (
    as_json,
    as_table,
    compare_settings,
    write_comparison,
)


def result(accuracy, folder=None):
    return types.SimpleNamespace(valid_accuracy=accuracy, folder=folder)


@pytest.fixture
def settings():
    """Two settings of three seeds; one search failed."""
    labels = ["eta=0.2"] * 3 + ["eta=0.4,zeta=1.0"] * 3
    results = [result(a, pathlib.Path(f"r{a}")) for a in (0.1, 0.2, 0.3, 0.4, 0.5)]
    return compare_settings(labels, [0, 1, 2] * 2, [*results, None])


def test_each_setting_has_mean_interval_and_n(settings):
    first, second = as_json(settings)["settings"]
    # t of 2 degrees of freedom at 0.975 is 4.3027; s / sqrt(n) = 0.1 / sqrt(3)
    assert first["mean"] == pytest.approx(0.2)
    assert first["low"] == pytest.approx(0.2 - 4.3027 * 0.1 / 3**0.5, abs=1e-5)
    assert first["high"] == pytest.approx(0.2 + 4.3027 * 0.1 / 3**0.5, abs=1e-5)
    assert (first["n"], first["failed"]) == (3, [])
    assert first["runs"] == {"0": "r0.1", "1": "r0.2", "2": "r0.3"}
    assert (second["n"], second["failed"]) == (2, [2])
    assert second["mean"] == pytest.approx(0.45)
    assert second["seeds"] == {"0": 0.4, "1": 0.5}


def test_settings_are_compared_with_the_first_over_the_seeds_of_both(settings):
    (difference,) = as_json(settings)["differences"]
    assert (difference["first"], difference["second"]) == (
        "eta=0.4,zeta=1.0",
        "eta=0.2",
    )
    assert difference["n"] == 2 and difference["difference"] == pytest.approx(0.3)


def test_the_table_has_percent_and_says_what_failed(settings):
    lines = as_table(settings).splitlines()
    assert lines[2] == "| eta=0.2 | 3 | 20.00 | [-4.84, 44.84] | – |"
    assert lines[3].startswith("| eta=0.4, zeta=1.0 | 2 (1 failed) | 45.00 | [")
    assert "| +30.00 " in lines[3]


def test_one_search_and_failed_settings_have_no_interval():
    settings = compare_settings(["a", "b", "b"], [0, 0, 1], [None, result(0.5), None])
    assert as_table(settings).splitlines()[2:] == [
        "| a | 0 (1 failed) | – | – | – |",
        "| b | 1 (1 failed) | 50.00 | – | – |",
    ]
    assert as_json(settings)["differences"] == []
    (only,) = compare_settings([""], [0], [result(0.5)])
    assert as_table([only]).splitlines()[2] == "| all seeds | 1 | 50.00 | – | – |"


def test_the_files_hold_both_forms(settings, tmp_path):
    in_json, in_markdown = write_comparison(tmp_path, settings)
    assert json.loads(in_json.read_text()) == as_json(settings)
    assert in_markdown.read_text() == as_table(settings)
