"""The methods on a table beside published figures become one record."""

import json
from types import SimpleNamespace

import pytest

from egnas_jax.studies.nasbench201 import table_search_config
from egnas_jax.studies.nasbench201.method_table import METHODS


def test_every_entry_is_a_method_of_the_table_with_options_it_has(load):
    experiment = load("table_methods")
    methods = [entry.method for entry in experiment.ENTRIES]
    assert set(methods) == set(METHODS)
    for entry in experiment.ENTRIES:
        table_search_config.build(None, list(entry.options))
    assert len({entry.label for entry in experiment.ENTRIES}) == len(methods)


@pytest.mark.parametrize("wrong", ["--seed -1", "--seed x", "--runs 0"])
def test_wrong_numbers_are_refused_before_anything_runs(wrong, load, tmp_path, capsys):
    words = f"--table none.npz --out {tmp_path / 'new'} {wrong}".split()
    with pytest.raises(SystemExit) as ended:
        load("table_methods").main(words)
    assert ended.value.code == 2 and not (tmp_path / "new").exists()
    assert wrong.split()[1] in capsys.readouterr().err.partition("error:")[2]


def test_the_seed_is_of_all_runs_and_of_the_command(load):
    experiment = load("table_methods")
    shared = experiment.shared_settings(SimpleNamespace(seed=3, runs=10))
    config = table_search_config.build(None, shared)
    assert (config.seed, config.runs, config.queries) == (3, 10, 200)
    options = SimpleNamespace(seed=3, runs=10, datasets=[])
    assert "--runs 10 --seed 3" in experiment.make_table(options, {})["command"]


@pytest.mark.slow
def test_differences_and_bars_are_those_of_the_recomputed_figures(
    load, convolution_table, tmp_path, monkeypatch
):
    experiment = load("table_methods")
    known = experiment.Entry(
        "known",
        "random_search",
        recomputed={4: (50.0, 0, 0), 100: (60.0, 0, 0)},
        published=("60.5 ± 1.0", "", ""),
    )
    monkeypatch.setattr(experiment, "ENTRIES", (known,))
    monkeypatch.setattr(experiment, "QUERIES", (4, 30, 100))
    words = f"--table {convolution_table} --datasets cifar10 --out {tmp_path} --runs 6"
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
