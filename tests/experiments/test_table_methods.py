"""The methods on a table beside published figures become one record."""

import json

import pytest


def accuracies(cells):
    """Every 3x3 convolution adds ten points, by validation and by test."""
    counts = (cells == 3).sum(axis=1)
    return (10.0 * counts + 20).astype("f4"), (10.0 * counts + 30).astype("f4")


@pytest.mark.slow
def test_differences_and_bars_are_those_of_the_recomputed_figures(
    load, write_table, tmp_path, monkeypatch
):
    table, experiment = tmp_path / "table.npz", load("table_methods")
    write_table(table, accuracies)
    known = experiment.Entry(
        "known",
        "random_search",
        recomputed={4: (50.0, 0, 0), 100: (60.0, 0, 0)},
        published=("60.5 ± 1.0", "", ""),
    )
    monkeypatch.setattr(experiment, "ENTRIES", (known,))
    monkeypatch.setattr(experiment, "QUERIES", (4, 30, 100))
    words = f"--table {table} --datasets cifar10 --out {tmp_path} --runs 6"
    experiment.main(words.split())
    record = json.loads((tmp_path / "table_methods.json").read_text())
    few, middle, many = record["rows"]
    assert few[:3] == ["CIFAR-10", "known", 4]
    ours = [row[3]["mean"] for row in record["rows"]]
    assert ours == sorted(ours) and few[3]["n"] == 6
    assert few[4:7] == [50.0, pytest.approx(ours[0] - 50.0), 0.06]
    assert middle[4:] == [None] * 4
    assert many[5] == pytest.approx(ours[2] - 60.0)
    # the published figure stands beside 100 queries alone
    assert (few[7], many[7]) == (None, "60.5 ± 1.0")
    within = sum(abs(row[5]) <= 0.06 for row in (few, many))
    assert record["note"].startswith(f"{within} of 2 means lie within the bar")
