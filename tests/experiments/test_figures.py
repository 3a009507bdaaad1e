"""Figures 2 and 3 of the report."""

import csv
import json

import pytest
from scipy import stats

from egnas_jax.space import SPACES
from egnas_jax.storage import records


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def digests(folder):
    return [record["digest"] for record in records.read(folder / "metrics.jsonl")]


def test_figure_3_measures_epochs_that_explore(load, stand_in, tmp_path):
    stand_in(
        lambda call: {
            "valid_accuracy": 0.5
            + 0.1 * call.config.seed
            + 0.001 * call.config.strategy.population
        }
    )
    load("figure3").main(["--size", "tiny", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "figure3.json").read_text())
    # five forks of each seed; the three epochs of its warm start count once
    assert record["seconds"] == 2 * (9 + 1 + 50 + 5 * (2 + 4))
    rows = record["rows"]
    assert [row[0] for row in rows] == [15, 30, 50, 70, 100]
    assert rows[0][2]["mean"] == 4.0  # median of 50, 2 and 4
    points = [tuple(point.values()) for point in read_csv(tmp_path / "figure3.csv")]
    assert ("seconds", "here", "seed 1", "70", "4.0") in points
    assert ("seconds", "here", "mean", "70", "4.0") in points
    assert ("days", "report", "report", "100", "0.094") in points
    ours = [point for point in points if point[:3] == ("accuracy", "here", "seed 1")]
    assert [(x, float(y)) for *_, x, y in ours] == [
        (size, pytest.approx(60 + int(size) / 10))
        for size in ["15", "30", "50", "70", "100"]
    ]


def test_figure_2_shows_how_curves_differ(load):
    curves = {"seed 0": [(1, 60.0), (2, 70.0)]}
    others = {"seed 0": [(1, 60.0), (2, 71.0)]}
    assert load("figure2").difference(curves, others) == {
        "seed 0": [(1, 0.0), (2, -1.0)]
    }


def test_figure_2_compares_each_term_with_both(load, stand_in, tmp_path):
    def metrics(call):
        strategy, seed = call.config.strategy, call.config.seed
        gain = 0.1 * strategy.zeta + 0.05 * strategy.eta * (seed + 1) ** 2
        return {"valid_accuracy": 0.6 + gain}

    stand_in(metrics)
    load("figure2").main(["--size", "tiny", "--seeds", "3", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "figure2.json").read_text())
    rows = {row[0]: row[1:] for row in record["rows"]}
    both = [0.7 + 0.02 * (seed + 1) ** 2 for seed in range(3)]
    alone = [0.6 + 0.02 * (seed + 1) ** 2 for seed in range(3)]
    assert rows["L1 only"][0]["mean"] == pytest.approx(70)
    assert rows["L1 only"][1] == pytest.approx(stats.ttest_rel([0.7] * 3, both).pvalue)
    assert rows["L2 only"][0]["mean"] == pytest.approx(100 * sum(alone) / 3)
    assert rows["L1 and L2"][1] is None
    assert [rows[name][2] for name in rows] == [83.5, 83.3, 84.1]
    # of three populations alike in all, in two or in one, as the stand-in records them
    assert "differ in zeta / eta choose the same" in record["note"]
    assert "(33 to 100)" in record["note"]


@pytest.mark.parametrize(
    "name, words", [("figure3", "--populations 50 50"), ("table1", "--weights 1 1.0")]
)
def test_a_value_that_is_named_twice_is_refused(name, words, load, tmp_path, capsys):
    with pytest.raises(SystemExit):
        load(name).main(["--size", "tiny", "--out", str(tmp_path), *words.split()])
    assert "one twice" in capsys.readouterr().err


@pytest.mark.longest
def test_the_tiny_size_of_figure_2_trains_in_the_whole_space(load, tmp_path):
    load("figure2").main(["--size", "tiny", "--seeds", "1", "--out", str(tmp_path)])
    assert "<svg" in (tmp_path / "figure2.svg").read_text()
    points = read_csv(tmp_path / "figure2.csv")
    ours = [point["x"] for point in points if point["panel"] == "ours"]
    assert ours == ["1", "2", "3", "4", "5", "6"] * 3
    apart = [float(point["y"]) for point in points if point["panel"] == "difference"]
    assert len(apart) == 18 and apart[:3] == [0, 0, 0] and apart[-6:] == [0] * 6
    names = ("L1_only-0", "L2_only-0", "L1_and_L2-0")
    forks = [digests(tmp_path / name) for name in names]
    # one warm start, bit for bit, then another state for each fitness
    assert forks[0][:3] == forks[1][:3] == forks[2][:3]
    assert len({fork[-1] for fork in forks}) > 1
    record = json.loads((tmp_path / "figure2.json").read_text())
    # chance is 10 %; recorded are about 42 %
    assert all(row[1]["mean"] > 30 for row in record["rows"])


@pytest.mark.longest
def test_a_tiny_figure_3_trains(load, tmp_path, monkeypatch, tiny_space):
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    words = f"--size tiny --seeds 1 --out {tmp_path} --populations 4 8"
    settings = "--set supernet.space=tiny --set epochs=4"
    load("figure3").main([*words.split(), *settings.split()])
    folders = [tmp_path / f"population{size}-0" for size in (4, 8)]
    first, second = map(digests, folders)
    assert first[:3] == second[:3] and first[3] != second[3]
    last = [records.read(folder / "metrics.jsonl")[-1] for folder in folders]
    # with alpha, and the best individual once more
    assert [record["candidate_images"] / 64 for record in last] == [6, 10]
    whole = json.loads((tmp_path / "figure3-details.json").read_text())
    seconds = [row[2]["mean"] for row in whole["record"]["rows"]]
    assert seconds == [record["seconds"] for record in last]
    chosen = [record["grid_chosen"][0] for record in last]
    same = [
        [sum(row[i] == row[j] for row in chosen) / 2 for i in range(16)]
        for j in range(16)
    ]
    assert whole["details"]["agreement"] == same
