"""Table searches of NAS-Bench-201 become one record."""

import csv
import json

import numpy as np
import pytest

from egnas_jax.storage import records

PAPER = "EG-NAS paper (eta 0.4)"


def accuracies(cells):
    """Validation prefers one cell and the test another; the best two cells tie.

    They have six 3x3 convolutions, and six times none.
    """
    counts = (cells == 3).sum(axis=1)
    valid = np.where((cells == 0).all(axis=1), 80.0, 10.0 * counts + 20)
    return valid, 90 - 5.0 * np.abs(counts - 5)


@pytest.fixture
def run_searches(load, write_table, tmp_path, monkeypatch):
    """Runs few queries by `paper` alone; returns the record and curves.json."""
    table, experiment = tmp_path / "table.npz", load("nasbench201")
    write_table(table, accuracies)
    settings = {"queries": 20, "egnas.population": 4}
    plan = experiment.PLANS["paper"]._replace(settings=settings)
    monkeypatch.setattr(experiment, "PLANS", {"paper": plan})

    def run(runs=3):
        words = f"--table {table} --datasets cifar10 --out {tmp_path} --runs {runs}"
        experiment.main(words.split())
        curves = tmp_path / "cifar10-paper" / "curves.json"
        record = json.loads((tmp_path / "nasbench201.json").read_text())
        return record, json.loads(curves.read_text())

    return run


@pytest.mark.slow
def test_rows_and_figure_are_those_of_the_searches(run_searches, tmp_path):
    record, curves = run_searches()
    rows = {row[1]: row[2:] for row in record["rows"]}
    assert list(rows) == [
        "EG-NAS paper (eta 0)",
        PAPER,
        "random search",
        "ageing evolution",
        "best of all by validation",
    ]
    # 5 and 25 points below the best cell
    assert rows["best of all by validation"] == [None, 15_625, "15.000", None, 0]
    assert "--runs 3 --datasets cifar10 --out" in record["command"]
    entry = curves["entries"][1]
    last = entry["final"]["test_regret"]["mean"]
    assert rows[PAPER][:2] == [3, 20]
    assert rows[PAPER][2].startswith(f"{100 * last:.3f} (")
    answer = entry["answer_regret"]["mean"]
    assert rows[PAPER][3].startswith(f"{100 * answer:.3f} (")
    found = curves["entries"][3]["optimum_found"]
    assert rows["ageing evolution"][4] == pytest.approx(100 * found)
    # both settings of EG-NAS ran in one program
    seconds = {entry["method"]: entry["seconds"] for entry in curves["entries"]}
    assert record["seconds"] == pytest.approx(sum(seconds.values()))
    with (tmp_path / "nasbench201.csv").open() as file:
        points = list(csv.DictReader(file))
    means = [
        float(point["y"])
        for point in points
        if (point["group"], point["run"]) == (PAPER, "mean")
    ]
    assert means[-1] == pytest.approx(100 * last)


@pytest.mark.slow
def test_curves_of_another_number_of_runs_are_refused(run_searches):
    run_searches()
    with pytest.raises(SystemExit, match="what another command made"):
        run_searches(runs=4)


@pytest.mark.slow
def test_a_mean_without_an_interval_stands_alone(run_searches, tmp_path):
    _, curves = run_searches()
    for entry in curves["entries"]:
        for interval in (
            *entry["curves"].values(),
            *entry["final"].values(),
            entry["answer_regret"],
        ):
            is_number = isinstance(interval["low"], float)
            unknown = None if is_number else [None] * len(interval["mean"])
            interval |= {"low": unknown, "high": unknown}
    records.write_json(tmp_path / "cifar10-paper" / "curves.json", curves)
    record, _ = run_searches()
    last = curves["entries"][1]["final"]["test_regret"]["mean"]
    assert record["rows"][1][4] == f"{100 * last:.3f}"
