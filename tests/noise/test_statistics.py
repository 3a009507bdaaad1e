"""What a matrix of candidates x batches says, against values worked out by hand."""

import numpy as np
import pytest

from egnas_jax.noise import statistics


def test_components_of_a_small_matrix_by_hand():
    # rows 0 and 4 apart, columns 0 and 2, one interaction of +-1
    values = np.array([[0.0, 2.0], [4.0, 6.0]]) + np.array([[1.0, -1.0], [-1.0, 1.0]])
    found = statistics.components(values)
    # sums of squares: rest 4 on 1 degree, rows 16, columns 4
    assert found.rest == pytest.approx(4.0)
    assert found.candidate == pytest.approx((16.0 - 4.0) / 2)
    assert found.batch == pytest.approx(0.0)  # (4 - 4) / 2
    assert found.shares == pytest.approx({"candidate": 0.6, "batch": 0.0, "rest": 0.4})
    assert found.reliability(1) == pytest.approx(6 / 10)
    assert found.reliability(6) == pytest.approx(6 / (6 + 4 / 6))


def test_components_are_those_that_made_a_large_matrix():
    rng = np.random.default_rng(0)
    candidate, batch = 2.0 * rng.normal(size=(400, 1)), 3.0 * rng.normal(size=(1, 400))
    found = statistics.components(candidate + batch + rng.normal(size=(400, 400)))
    np.testing.assert_allclose(found, (4.0, 9.0, 1.0), rtol=0.15)


def test_batches_that_are_counted_give_the_repeatability_asked_for():
    for wanted in (0.5, 0.9, 0.99):
        found = statistics.Components(1.0, 7.0, 3.7)
        count = found.batches_for(wanted)
        assert found.reliability(count) >= wanted
        assert count == 1 or found.reliability(count - 1) < wanted
    assert statistics.Components(1.0, 0.0, 1.0).batches_for(0.9) == 9  # exactly
    assert statistics.Components(0.0, 1.0, 1.0).batches_for(0.9) is None
    assert statistics.Components(1.0, 1.0, 0.0).batches_for(0.9) == 1


def test_nothing_varies():
    found = statistics.describe(np.ones((3, 4)), reliability=0.9)
    assert found["kendall"] == {"mean": None, "lower": None, "upper": None, "n": 0}
    assert set(found["variance_share"].values()) == {None}
    assert found["reliability"] is None


def test_one_candidate_or_one_batch_has_no_variance():
    for shape in ((1, 5), (5, 1)):
        with pytest.raises(ValueError, match="at least two of each"):
            statistics.components(np.zeros(shape))


def test_tau_counts_pairs():
    assert statistics.kendall(np.arange(4), np.array([0, 1, 3, 2])) == pytest.approx(
        (5 - 1) / 6
    )
    assert statistics.kendall(np.arange(4), np.ones(4)) is None


def test_what_a_batch_adds_to_all_moves_no_rank():
    rng = np.random.default_rng(1)
    order = rng.normal(size=(9, 1))
    found = statistics.describe(order + 5 * rng.normal(size=(1, 8)), reliability=0.9)
    assert found["kendall"]["mean"] == 1.0
    assert found["kendall"]["n"] == 8 * 7 // 2
    assert (found["same_winner"], found["rank_of_winner"]) == (1.0, 1.0)
    assert found["reliability"] == pytest.approx(1.0)
    assert found["variance_share"]["batch"] > 0.5
    assert [one["batches"] for one in found["kendall_of_means"]] == [1, 2, 4]


def test_pure_noise_ranks_nothing():
    values = np.random.default_rng(2).normal(size=(50, 40))
    found = statistics.describe(values, reliability=0.9)
    assert abs(found["kendall"]["mean"]) < 0.02
    assert found["same_winner"] < 0.06  # chance: 1 / 50
    assert 20 < found["rank_of_winner"] < 31  # chance: 25.5


def test_more_batches_rank_better_as_predicted():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(60, 1)) + 2.0 * rng.normal(size=(60, 64))
    found = statistics.describe(values, reliability=0.8)["kendall_of_means"]
    means = [one["mean"] for one in found]
    assert means == sorted(means)
    for one in found:  # tau of two normal variables with this correlation
        expected = 2 / np.pi * np.arcsin(one["reliability"])
        assert abs(one["mean"] - expected) < 0.08


def test_the_winner_of_a_batch_is_ranked_by_the_others():
    # the second batch prefers candidate 2, which the first ranks last
    values = np.array([[0.0, 0.3], [1.0, 0.2], [2.0, 0.1]])
    assert statistics.winners(values) == (0.0, 3.0)
