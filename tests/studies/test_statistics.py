"""Means, intervals, tests and correlations, by hand and by tables."""

import numpy as np
import pytest
from scipy import stats

from egnas_jax.studies.statistics import (
    compare,
    compare_pairs,
    compare_with,
    kendall,
    mean_and_spread,
    mean_interval,
    rank_correlations,
    summarise,
)

# Student's t for 97.5 %, from any table of the distribution, by degrees of freedom
T_975 = {2: 4.302653, 3: 3.182446}


def test_a_single_value_has_a_mean_and_no_spread():
    assert mean_and_spread([7.0]) == (7.0, None)
    assert summarise([7.0]) == (7.0, None, 1, None, None)


def test_a_summary_has_the_t_interval_of_the_mean():
    summary = summarise([1.0, 2.0, 3.0, 4.0])
    assert (summary.mean, summary.n) == (2.5, 4)
    assert summary.spread == pytest.approx((5 / 3) ** 0.5)
    half = T_975[3] * (5 / 3) ** 0.5 / 2
    assert summary.high - summary.mean == pytest.approx(half)
    assert summary.mean - summary.low == pytest.approx(half)


def test_an_interval_of_runs_is_students():
    mean, low, high = mean_interval(np.asarray([[1.0], [2.0], [3.0]]))
    half = T_975[2] / np.sqrt(3)  # the standard deviation is 1
    np.testing.assert_allclose([mean, low, high], [[2], [2 - half], [2 + half]], 1e-6)
    mean, low, high = mean_interval(np.asarray([[1.5]]))
    np.testing.assert_array_equal([mean, low, high], [[1.5], [np.nan], [np.nan]])


def test_groups_are_paired_by_the_seeds_they_share():
    values = {"a": {0: 1.0, 1: 2.0, 2: 4.0, 9: 50.0}, "b": {0: 0.0, 1: 0.0, 2: 1.0}}
    (pair,) = compare(values)
    assert (pair.first, pair.second, pair.n, pair.difference) == ("a", "b", 3, 2.0)
    # differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.4641; p for 2 degrees of freedom
    t = 2 * 3**0.5
    assert pair.t_test == pytest.approx(1 - t / (2 + t * t) ** 0.5)
    assert pair.wilcoxon == pytest.approx(2 / 2**3)  # all differences have one sign
    assert pair.holm == pair.t_test
    assert compare({"a": {0: 1.0}, "b": {1: 1.0}}) == []


def test_holm_multiplies_the_least_p_value_by_all_and_never_falls():
    noise = [0.0, 0.1, -0.1, 0.05]
    values = {
        name: {s: offset * (s + 1) + noise[(s * step) % 4] for s in range(4)}
        for name, offset, step in (("a", 0, 1), ("b", 1, 3), ("c", 0.01, 2))
    }
    first, second, third = sorted(compare(values), key=lambda pair: pair.t_test)
    assert first.holm == pytest.approx(3 * first.t_test)
    assert second.holm == pytest.approx(max(first.holm, 2 * second.t_test))
    assert third.holm == pytest.approx(max(second.holm, third.t_test))


def test_comparisons_with_a_control_have_holms_intervals():
    """Three groups: one rejected at 1 - 0.05 / 3, one not at 1 - 0.05 / 2."""
    control = {0: 1.0, 1: 2.0, 2: 4.0, 3: 3.0, 4: 1.5}
    offsets = {
        "clear": [3.0, 3.2, 2.9, 3.1, 3.0],
        "none": [1.0, -1.0, 0.5, -0.4, 0.1],
        "close": [1.0, 2.0, 0.2, 1.5, 0.3],  # p = 0.044
    }
    groups = {"control": control} | {
        name: {seed: control[seed] + value for seed, value in enumerate(values)}
        for name, values in offsets.items()
    }
    pairs = {one.first: one for one in compare_with("control", groups)}
    assert list(pairs) == list(offsets)
    assert {one.second for one in pairs.values()} == {"control"}
    # rank 1 of 3; the second holds zero, so the third has its level
    for name, alpha in (("clear", 0.05 / 3), ("close", 0.025), ("none", 0.025)):
        values, one = offsets[name], pairs[name]
        test = stats.ttest_1samp(values, 0.0)
        expected = test.confidence_interval(1 - alpha)
        np.testing.assert_allclose((one.low, one.high), expected, rtol=1e-6)
        assert one.t_test == pytest.approx(test.pvalue)
        assert (one.holm < 0.05) == (one.low > 0 or one.high < 0)
    assert pairs["close"].t_test < 0.05 < pairs["close"].holm
    assert pairs["clear"].holm == pytest.approx(3 * pairs["clear"].t_test)


def test_all_rejected_comparisons_step_down_to_the_plain_level():
    control = dict.fromkeys(range(3), 0.0)
    groups = {"control": control, "a": {0: 9.0, 1: 9.1, 2: 9.2}}
    groups["b"] = {0: 5.0, 1: 5.1, 2: 5.4}
    last = compare_with("control", groups)[1]
    expected = stats.ttest_1samp([5.0, 5.1, 5.4], 0.0).confidence_interval(0.95)
    np.testing.assert_allclose((last.low, last.high), expected, rtol=1e-6)


def test_pairs_with_two_controls_share_one_correction():
    zeros = dict.fromkeys(range(3), 0.0)
    groups = {"control": zeros, "other": {0: 0.1, 1: -0.2, 2: 0.05}}
    groups["a"] = {0: 9.0, 1: 9.1, 2: 9.2}
    pairs = [("other", "control"), ("a", "control"), ("a", "other")]
    comparisons = compare_pairs(pairs, groups)
    assert [(one.first, one.second) for one in comparisons] == pairs
    # the least p of three has the level 1 - 0.05 / 3, whichever its control is
    expected = stats.ttest_1samp([9.0, 9.1, 9.2], 0.0).confidence_interval(1 - 0.05 / 3)
    np.testing.assert_allclose(
        (comparisons[1].low, comparisons[1].high), expected, rtol=1e-6
    )
    assert comparisons[1].holm == pytest.approx(3 * comparisons[1].t_test)
    assert comparisons[2].holm == pytest.approx(2 * comparisons[2].t_test)


def test_a_control_is_not_told_apart_by_equal_differences():
    groups = {"control": {0: 1.0, 1: 2.0}, "a": {0: 2.0, 1: 3.0}, "b": {7: 1.0}}
    (only,) = compare_with("control", groups)  # b shares no seed
    assert (only.difference, only.n) == (1.0, 2)
    assert (only.low, only.high, only.t_test, only.holm) == (None,) * 4


def test_equal_differences_and_single_pairs_have_no_t_test():
    (same,) = compare({"a": {0: 0.3, 1: 0.4}, "b": {0: 0.1, 1: 0.2}})
    assert same.t_test is None and same.holm is None
    (equal,) = compare({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 2.0}})
    assert equal.wilcoxon is None
    (single,) = compare({"a": {0: 1.0}, "b": {0: 3.0}})
    assert (single.difference, single.low, single.t_test) == (-2.0, None, None)


@pytest.mark.parametrize(
    "differences, expected",
    [
        ([1, 1, 1, 1], 2 / 2**4),  # as extreme: all signs positive, all negative
        ([1, 1, 1, 1, 2], 2 / 2**5),
        ([1, 1, 0, 1], 2 / 2**3),  # a zero is no pair
        # ranks 2 2 2 4, sum 10 of which 2 is negative: 0 and 2 in 4 of 16, both sides
        ([1, -1, 1, 2], 2 * 4 / 2**4),
        # ranks 1.5 1.5 3: 0 and 1.5 in 1 + 2 of 8; 0.3 - 0.1 is 0.2 but for rounding
        ([-(0.3 - 0.1), 0.2, 0.4], 2 * 3 / 2**3),
    ],
)
def test_wilcoxon_is_exact_where_differences_tie(differences, expected):
    groups = {"a": dict(enumerate(differences)), "b": dict.fromkeys(range(9), 0.0)}
    (pair,) = compare(groups)
    assert pair.wilcoxon == pytest.approx(expected)


def test_tau_counts_pairs():
    assert kendall(np.arange(4), np.array([0, 1, 3, 2])) == pytest.approx((5 - 1) / 6)
    assert kendall(np.arange(4), np.ones(4)) is None


def test_correlations_equal_scipys_and_lie_in_their_intervals():
    rng = np.random.default_rng(1)
    ours = rng.integers(0, 20, 80).astype(float)  # has ties
    theirs = ours + rng.normal(0, 8, 80)
    correlations = rank_correlations(ours, theirs, resamples=300, seed=0)
    tau = stats.kendalltau(ours, theirs).statistic
    rho = stats.spearmanr(ours, theirs).statistic
    assert correlations["kendall"]["value"] == pytest.approx(tau)
    assert correlations["spearman"]["value"] == pytest.approx(rho)
    for entry in correlations.values():
        assert entry["low"] < entry["value"] < entry["high"]
        assert 0.1 < entry["high"] - entry["low"] < 0.5
    # Fisher's z gives nearly the same interval for Spearman's rho
    low, high = np.tanh(np.arctanh(rho) + np.asarray([-1, 1]) * 1.96 * 1.03 / 77**0.5)
    assert correlations["spearman"]["low"] == pytest.approx(low, abs=0.06)
    assert correlations["spearman"]["high"] == pytest.approx(high, abs=0.06)


def test_minus_infinity_ranks_last():
    ours, theirs = np.asarray([-np.inf, 1.0, 2.0]), np.asarray([5.0, 6.0, 7.0])
    correlations = rank_correlations(ours, theirs, resamples=20, seed=0)
    assert correlations["kendall"]["value"] == correlations["spearman"]["value"] == 1.0


def test_a_constant_score_has_no_correlation():
    theirs = np.asarray([1.0, 5.0, 2.0, 4.0, 3.0])
    correlations = rank_correlations(np.ones(5), theirs, resamples=20, seed=0)
    entries = [list(entry.values()) for entry in correlations.values()]
    assert np.isnan(entries).all()
