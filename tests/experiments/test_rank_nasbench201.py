"""Supernets are ranked beside the number of weights."""

import json

import pytest

from egnas_jax.space import Topology

REFERENCE = "test_accuracy_200_epochs"
# Cells of 3x3 convolutions alone have the more weights the more of them.
CELLS = [Topology.of_choices([3] * n + [1] * (6 - n)).format() for n in range(4)]


def ranking(folder, table, size, data_dir):
    """A result of `rank_correlation.rank`; by loss better for EG-NAS than others."""
    value = 0.25 if "EG-NAS" in folder.name else -0.5
    entries = []
    for supernet in ("loss", "accuracy"):
        for name in ("valid_accuracy_12_epochs", REFERENCE):
            is_used = (supernet, name) == ("loss", REFERENCE)
            interval = {"value": value if is_used else 9.0, "low": -1.0, "high": 1.0}
            measures = {"kendall": interval, "spearman": interval}
            entries.append({"supernet": supernet, "table": name, **measures})
    return {
        "epochs": 3,
        "cells": 4,
        "images": 64,
        "seed": 0,
        "optimum": 0.94,
        "best_test_accuracy": 0.9,
        "correlations": entries,
        "sample": {"cell": CELLS, REFERENCE: [0.1, 0.2, 0.3, 0.4]},
    }


@pytest.fixture
def run_rank(load, stand_in, tmp_path, monkeypatch):
    """Runs the tiny size by stand-ins; returns the calls and rankings."""
    fake, ranked = stand_in(lambda call: {"valid_accuracy": 0.3}), []
    experiment = load("rank_nasbench201")
    monkeypatch.setattr(experiment, "read_table", lambda *arguments: None)

    def rank(folder, *arguments):
        ranked.append(folder)
        return ranking(folder, *arguments)

    monkeypatch.setattr(experiment, "rank", rank)

    def run():
        words = f"--size tiny --table FILE --variant official --out {tmp_path}"
        experiment.main(words.split())
        return fake.calls, ranked

    return run


def test_every_search_is_ranked_once(run_rank):
    calls, ranked = run_rank()
    assert (len(calls), len(ranked)) == (6, 6)
    assert {call.config.supernet.space for call in calls} == {"nasbench201"}
    run_rank()
    assert (len(calls), len(ranked)) == (6, 6)


def test_rows_hold_the_correlations_of_the_loss(run_rank, tmp_path):
    run_rank()
    record = json.loads((tmp_path / "rank_nasbench201.json").read_text())
    rows = {row[0]: row[1:] for row in record["rows"]}
    assert rows["EG-NAS official"][1]["mean"] == 0.25
    assert rows["random search"][2] == {"mean": -0.5, "spread": 0.0, "n": 2}
    assert rows["DARTS, first order"][3]["mean"] == 90
    assert rows["number of weights"][1].startswith("1.00 (")
