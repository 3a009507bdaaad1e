"""Rules choose from cells with known scores and accuracies."""

import argparse

import numpy as np
import pytest


@pytest.fixture
def proxies(load):
    return load("proxies")


@pytest.fixture
def scored(proxies):
    """40 cells: naswot knows their accuracies, params half of them, l2_norm none."""
    rng = np.random.default_rng(0)
    test = rng.permutation(40) / 100
    params = np.where(rng.random(40) < 0.5, test, 0.0)
    rules = {"params": params, "naswot": test, "l2_norm": -test}
    rules["synflow"] = np.full(40, np.nan)
    return proxies.Scored({**rules, proxies.TRAINED: test}, test, seconds=1.0)


def test_a_rule_chooses_its_best_of_the_cells_drawn(proxies, scored):
    drawn = np.asarray([5, 3, 8, 1])
    chosen = proxies.choose(scored, drawn)
    assert chosen["naswot"] == drawn[np.argmax(scored.test[drawn])]
    assert chosen["l2_norm"] == drawn[np.argmin(scored.test[drawn])]
    assert chosen[proxies.CHANCE] == chosen["synflow"] == 5  # no score: the first


def test_regrets_and_verdicts_of_known_scores(proxies, scored):
    size = proxies.Size(("params", "naswot", "l2_norm", "synflow"), 40, 1, 10, 300)
    found = proxies.regrets(size, [scored], 0.39)
    assert found["naswot"].mean() < found["params"].mean() < found["l2_norm"].mean()
    np.testing.assert_array_equal(found["naswot"], found[proxies.TRAINED])
    np.testing.assert_array_equal(found["synflow"], found[proxies.CHANCE])
    compared = proxies.comparisons(found)
    # three against params and four against chance, of which one never differs
    assert len(compared) == 7
    tested = [one for one in compared.values() if one.t_test is not None]
    least = min(tested, key=lambda one: one.t_test)
    assert len(tested) == 6
    assert least.holm == pytest.approx(6 * least.t_test)
    assert compared["naswot", "params"].high < 0 < compared["l2_norm", "params"].low
    text = proxies.difference_text(compared["synflow", proxies.CHANCE])
    assert text == "no difference"


def test_the_record_has_a_row_for_each_rule(proxies, scored):
    size = proxies.SIZES["tiny"]
    found = proxies.regrets(size, [scored], 0.39)
    options = argparse.Namespace(size="tiny", dataset="cifar10")
    table = proxies.make_table(options, [scored], found)
    rows = {row[0]: row for row in table["rows"]}
    assert set(rows) == {*scored.rules, proxies.CHANCE}
    assert rows["naswot"][-1] == 16 and rows["params"][-1] == 0
    assert rows["params"][2] is None and rows[proxies.TRAINED][2:] == [None] * 3
    assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    # runs draw from one pool of cells
    assert "do not hold for other cells, weights and images" in table["note"]


def test_sizes_score_what_the_searches_compare(proxies):
    for size in proxies.SIZES.values():
        assert size.drawn <= size.cells and proxies.WEIGHTS in size.proxies
        proxies.ProxyStudy("nasbench201", size.proxies, size.cells, **size.frame)
