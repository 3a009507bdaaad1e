"""Markdown and CSV of tables, and the table of several retrained seeds."""

import math

import pytest

from egnas_jax.studies import retrain_seeds
from egnas_jax.studies.tables import csv_text, interval_text, markdown_table


def test_a_markdown_table_escapes_bars_and_ends_with_its_note():
    table = markdown_table(["a|b", "n"], [("c", 1), ("d", 2)], "Note.")
    assert table == "| a\\|b | n |\n|---|---|\n| c | 1 |\n| d | 2 |\n\nNote.\n"
    assert markdown_table(["a"], []) == "| a |\n|---|\n"


def test_csv_quotes_commas():
    assert csv_text([("a", "b"), ("c,d", 1.5)]) == 'a,b\n"c,d",1.5\n'


def test_an_interval_leaves_out_bounds_that_are_nan():
    assert interval_text(0.5, 0.25, 0.75) == "0.500 (0.250 to 0.750)"
    assert interval_text(0.5, math.nan, math.nan) == "0.500"


def summary(seed, error):
    """What `egnas retrain` knows of one seed."""
    return {
        "seed": seed,
        "run": f"out/seed{seed}",
        "test_error_last": error,
        "test_error_best": error / 2,
        "seconds": 60.0,
        "genotype": "Genotype",
        "epochs": 5,
        "params": 3_300_000,
        "multiply_adds": None,
        "multiply_adds_convention": "convolutions",
        "search_seconds": 43_200.0,
        "test_images": 10_000,
    }


def test_errors_of_several_seeds_become_a_mean_and_a_spread():
    total = retrain_seeds.aggregate([summary(0, 0.02), summary(1, 0.04)])
    assert total["test_error_last"] == pytest.approx(0.03)
    assert total["test_error_last_spread"] == pytest.approx(0.02 / 2**0.5)
    assert (total["seconds"], total["seeds"]) == (120.0, [0, 1])
    table = retrain_seeds.markdown(total)
    assert "| 0 | 2.00 | 1.00 | 3.300 | unknown | 0.5000 | 60 |" in table
    assert "| mean | 3.00 ± 1.41 | 1.50 ± 0.71 |  |  |  | 120 in all |" in table
    rows = [line.split(",") for line in retrain_seeds.as_csv(total).splitlines()]
    assert rows[0][:3] == ["seed", "run", "test_error_last"] and len(rows) == 3
    assert len({len(row) for row in rows}) == 1


def test_a_seed_that_failed_is_said_beside_the_mean_of_the_others():
    total = retrain_seeds.aggregate([summary(0, 0.02), summary(2, 0.04)], failed=[1])
    assert (total["seeds"], total["failed"]) == ([0, 2], [1])
    assert "the mean leaves them out: 1." in retrain_seeds.markdown(total)
    whole = retrain_seeds.aggregate([summary(0, 0.02)])
    assert "failed" not in whole
    assert "not finite" not in retrain_seeds.markdown(whole)


def test_one_seed_has_no_spread():
    total = retrain_seeds.aggregate([summary(0, 0.02)])
    assert total["test_error_last_spread"] is None
    assert "| mean | 2.00 | 1.00 |" in retrain_seeds.markdown(total)
