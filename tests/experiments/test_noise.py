"""Noise studies of several seeds become one record."""

import csv
import json

import pytest

from egnas_jax.space import SPACES


@pytest.mark.longest
def test_a_tiny_noise_study_trains(load, tmp_path, monkeypatch, tiny_space):
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    words = f"--size tiny --seeds 2 --out {tmp_path}"
    settings = "--set supernet.space=tiny --set epochs=4"
    load("noise").main([*words.split(), *settings.split()])
    record = json.loads((tmp_path / "noise.json").read_text())
    studies = [
        json.loads((tmp_path / f"search-{seed}" / "noise.json").read_text())
        for seed in range(2)
    ]
    assert [study["size"] for study in studies] == [20, 20]
    rows = {row[0]: row[1:] for row in record["rows"]}
    results = [study["statistics"]["batch"]["cross_entropy"] for study in studies]
    cells = rows["cross entropy, batch statistics"]
    for column, values in (
        (0, [result["kendall"]["mean"] for result in results]),
        (1, [result["by_batches"][-1]["mean"] for result in results]),
        (2, [100 * result["variance_share"]["candidate"] for result in results]),
        (3, [100 * result["variance_share"]["batch"] for result in results]),
    ):
        assert cells[column]["mean"] == pytest.approx(sum(values) / 2)
    needed = [result["batches_for"]["batches"] for result in results]
    texts = [f"{number}" if number else "> 4" for number in needed]
    assert cells[-1] == ", ".join(texts)
    with (tmp_path / "noise.csv").open() as file:
        points = list(csv.DictReader(file))
    assert {point["panel"] for point in points} == {"fitness", "cross_entropy"}
    last = [point for point in points if point["run"] == "seed 1"][-1]
    assert last["group"] == "batch statistics"
    assert float(last["y"]) == results[1]["by_batches"][-1]["mean"]
