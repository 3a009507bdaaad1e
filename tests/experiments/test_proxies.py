"""Searches by known scores, in a table in which only 3x3 convolutions count."""

import argparse

import numpy as np
import pytest

from egnas_jax.studies import proxy_scores
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.nasbench201.table import KIND, code_of


@pytest.fixture
def proxies(load):
    return load("proxies")


@pytest.fixture(scope="module")
def table(convolution_table):
    return read_table(convolution_table, "cifar10")


def test_scores_stand_in_the_rows_of_the_table(proxies, table, tmp_path, monkeypatch):
    def codes_as_scores(study, batch, num_classes, folder, on_chunk):
        cells = proxy_scores.draw_cells(study).primitives[KIND]
        codes = code_of(np.argmax(np.asarray(cells), axis=-1))
        return {name: np.asarray(codes) for name in study.proxies}

    monkeypatch.setattr(proxy_scores, "score_study", codes_as_scores)
    options = argparse.Namespace(size="tiny", out=tmp_path, data_dir=None)
    scored = proxies.score(options, table, 1)
    expected = np.argsort(np.asarray(table.row_of))
    np.testing.assert_array_equal(scored.scores["naswot"], expected)


def test_a_search_by_a_score_finds_what_the_score_knows(proxies, table):
    size = proxies.Size(("params", "naswot"), 1, runs=20, queries=30)
    test = np.asarray(table.test)
    scored = proxies.Scored({"params": -test, "naswot": test}, seconds=1.0)
    regrets = {
        name: proxies.search(seen, "cifar10", size, "random_search", 0)
        for name, seen in {
            "params": proxies.with_scores(table, scored.scores["params"]),
            "naswot": proxies.with_scores(table, scored.scores["naswot"]),
            proxies.TRAINED: table,
        }.items()
    }
    # both accuracies of this table rank alike
    assert regrets["naswot"] == regrets[proxies.TRAINED]
    chance = 100 * float(table.test.max() - table.test.mean())
    assert 0 <= regrets["naswot"] < chance < regrets["params"] <= 60.001


def regrets_of(proxies, values):
    """Regrets of both searches, the second one point better, from those of seeds."""
    return {
        (method, name): {seed: value - worse for seed, value in enumerate(by_seed)}
        for name, by_seed in values.items()
        for method, worse in zip(proxies.SEARCHES, (0.0, 1.0), strict=True)
    }


VALUES = {
    "params": [5.0, 5.2, 5.1],
    "multiply_adds": [5.0, 5.2, 5.1],
    "naswot": [4.0, 4.21, 4.12],
    "zen": [4.0, 6.2, 5.3],
    "accuracy after 12 epochs": [2.0, 2.2, 2.1],
}


def test_rows_compare_each_search_with_the_same_one_by_weights(proxies):
    size = proxies.Size(("params", "multiply_adds", "naswot", "zen"), 3, 10, 20)
    rows = proxies.search_rows(size, regrets_of(proxies, VALUES), chance=9.0)
    by_key = {tuple(row[:2]): row for row in rows}
    assert len(rows) == 11 and rows[-1] == [proxies.CHANCE, None, 9.0, None, None]
    means = [row[2]["mean"] for row in rows[:-1]]
    assert means == sorted(means) and rows[0][0] == proxies.TRAINED
    for method in ("random search", "ageing evolution"):
        assert by_key["multiply_adds", method][3] == "the same cells"
        assert by_key["params", method][3:] == [None, 0]
        assert by_key["accuracy after 12 epochs", method][3:] == [None, None]
        assert by_key["naswot", method][4] == 16
        low, _, high = by_key["naswot", method][3].split()[:3]
        assert float(low) < -0.99 < float(high) < 0
        low, _, high = by_key["zen", method][3].split()[:3]
        assert float(low) < 0 < float(high)


def test_all_comparisons_are_corrected_together(proxies):
    compared = proxies.comparisons(regrets_of(proxies, VALUES))
    # three proxies and two searches; equal regrets have no test
    assert len(compared) == 6
    tested = [one for one in compared.values() if one.t_test is not None]
    least = min(tested, key=lambda one: one.t_test)
    assert len(tested) == 4
    assert least.holm == pytest.approx(4 * least.t_test)


def test_correlations_of_scores_with_accuracies(proxies):
    scored = proxies.Scored({"naswot": np.asarray([1, np.nan, 3, 4.0])}, seconds=1.0)
    ((_, spearman, kendall),) = proxies.rank_rows([scored], {"one": np.arange(4.0)})
    # NaN ranks last: the ranks are 2, 1, 3, 4
    assert kendall["mean"] == pytest.approx(4 / 6)
    assert spearman["mean"] == pytest.approx(1 - 6 * 2 / 60)


def test_the_records_name_seeds_and_data_sets(proxies):
    options = argparse.Namespace(size="tiny", dataset="cifar100")
    regrets = regrets_of(proxies, VALUES)
    record = proxies.search_record(options, regrets, 9.0, seconds=1.0)
    assert "--dataset cifar100" in record["command"]
    assert "5 cells (1 in a stage)" in record["note"]
    assert "2 seeds of weights and images" in record["note"]
    rng = np.random.default_rng(0)
    tests = {name: rng.random(9) for name in ("cifar10", "cifar100")}
    by_seed = [
        proxies.Scored({"naswot": -tests["cifar10"], "params": tests["cifar10"]}, 1.0)
        for _ in range(2)
    ]
    ranks = proxies.rank_record(options, by_seed, tests, seconds=2.0)
    assert [row[0] for row in ranks["rows"]] == ["params", "naswot"]
    assert [cell["mean"] for cell in ranks["rows"][0][1:4:2]] == pytest.approx([1, 1])
    for table in (record, ranks):
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}


def test_every_size_can_be_scored_and_has_the_number_of_weights(proxies):
    for size in proxies.SIZES.values():
        assert proxies.WEIGHTS in proxies.study_of(size, 0).proxies
