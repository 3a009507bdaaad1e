"""Measures of a matrix of candidates x batches, against values computed by hand."""

import numpy as np
import pytest

from egnas_jax.studies.noise import repeatability
from egnas_jax.studies.noise.repeatability import describe, mean_pool, winners


def test_variance_components_of_a_small_matrix_by_hand():
    # rows 0 and 4 apart, columns 0 and 2 apart, a residual of +-1
    values = np.array([[0.0, 2.0], [4.0, 6.0]]) + np.array([[1.0, -1.0], [-1.0, 1.0]])
    components = repeatability.variance_components(values)
    # sums of squares: residual 4 on 1 degree of freedom, rows 16, columns 4
    assert components.rest == pytest.approx(4.0)
    assert components.candidate == pytest.approx((16.0 - 4.0) / 2)
    assert components.batch == pytest.approx(0.0)  # (4 - 4) / 2
    shares = {"candidate": 0.6, "batch": 0.0, "rest": 0.4}
    assert components.shares == pytest.approx(shares)
    assert components.reliability == pytest.approx(6 / 10)


def test_variance_components_of_a_large_matrix_are_those_it_was_drawn_with():
    rng = np.random.default_rng(0)
    candidate, batch = 2.0 * rng.normal(size=(400, 1)), 3.0 * rng.normal(size=(1, 400))
    values = candidate + batch + rng.normal(size=(400, 400))
    components = repeatability.variance_components(values)
    np.testing.assert_allclose(components, (4.0, 9.0, 1.0), rtol=0.15)


def needed(measured, goal, means=True):
    return repeatability.batches_needed(measured, goal, means=means)


def test_the_number_of_batches_is_the_smallest_that_reaches_the_goal():
    def of_mean(k):  # variance 1 between candidates, residual 3.7
        return 1 / (1 + 3.7 / k)

    for sizes in ([1], [1, 2, 4], [1, 2, 4, 8, 16, 32, 64]):
        points = [(k, of_mean(k)) for k in sizes]
        for goal in (0.5, 0.9, 0.99):
            batches = needed(points, goal)
            assert of_mean(batches) >= goal
            assert of_mean(batches - 1) < goal
    assert needed([(1, 0.5)], 0.9) == 9  # exactly
    assert needed([(1, 0.0), (2, 0.0)], 0.9) is None
    assert needed([(1, None)], 0.9) is None
    assert needed([(1, 1.0)], 0.9) == 1


def test_odds_between_measured_sizes_follow_a_power_law():
    # odds 1, 1 and 16: beyond 2 batches, a quarter of the squared number of batches
    measured = [(1, 1 / 2), (2, 1 / 2), (8, 16 / 17)]
    for means in (True, False):
        assert needed(measured, 4 / 5, means) == 4
        assert needed(measured, 16 / 17, means) == 8
    # beyond the measured sizes only means have a known law
    assert needed(measured, 32 / 33) == 16
    assert needed(measured, 32 / 33, means=False) is None
    # repeatability may start at 0 or end at 0 or 1
    assert needed([(1, 0.0), (2, 0.95)], 0.9) == 2
    assert needed([(1, 0.2), (2, 1.0)], 0.9) == 2
    assert needed([(1, 0.2), (2, 0.0)], 0.9) is None


def test_constant_values_have_no_tau_and_no_reliability():
    measures = describe(np.ones((3, 4)), reliability=0.9)
    assert measures["kendall"] == {"mean": None, "lower": None, "upper": None, "n": 0}
    assert set(measures["variance_share"].values()) == {None}
    assert measures["reliability"] is None


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_one_candidate_or_one_batch_has_no_variance(shape):
    with pytest.raises(ValueError, match="at least two of each"):
        repeatability.variance_components(np.zeros(shape))


def test_the_effect_of_a_batch_on_all_candidates_changes_no_rank():
    rng = np.random.default_rng(1)
    order = rng.normal(size=(9, 1))
    measures = describe(order + 5 * rng.normal(size=(1, 8)), reliability=0.9)
    assert measures["kendall"]["mean"] == 1.0
    assert measures["kendall"]["n"] == 8 * 7 // 2
    assert (measures["same_winner"], measures["rank_of_winner"]) == (1.0, 1.0)
    assert measures["reliability"] == pytest.approx(1.0)
    assert measures["variance_share"]["batch"] > 0.5
    assert [entry["batches"] for entry in measures["by_batches"]] == [1, 2, 4]


def test_pure_noise_gives_ranks_by_chance():
    values = np.random.default_rng(2).normal(size=(50, 40))
    measures = describe(values, reliability=0.9)
    assert abs(measures["kendall"]["mean"]) < 0.02
    assert measures["same_winner"] < 0.06  # chance: 1 / 50
    assert 20 < measures["rank_of_winner"] < 31  # chance: 25.5


def test_agreement_grows_with_batches_as_for_normal_variables():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(60, 1)) + 2.0 * rng.normal(size=(60, 64))
    entries = describe(values, reliability=0.8)["by_batches"]
    taus = [entry["mean"] for entry in entries]
    assert taus == sorted(taus)
    for entry in entries:
        correlation = 1 / (1 + 4 / entry["batches"])  # candidates 1, residual 4
        tau = 2 / np.pi * np.arcsin(correlation)
        rho = 6 / np.pi * np.arcsin(correlation / 2)
        assert abs(entry["mean"] - tau) < 0.08
        assert abs(entry["spearman"] - rho) < 0.08


def test_agreement_of_two_sets_by_hand():
    # two batches make one pair of sets, in either order; ranks 1 2 3 and 1 3 2
    values = np.array([[0.0, 1.0], [2.0, 6.0], [4.0, 5.0]])
    agreement = repeatability.agreement_of_sets(mean_pool(values), 2, 1, 3, seed=0)
    assert agreement.spearman == pytest.approx(0.5)
    assert agreement.kendall == pytest.approx([1 / 3] * 3)


def test_several_batches_are_ranked_by_the_pool_and_not_by_the_mean():
    values = np.array([[0.0, 0.0, 9.0, 9.0], [1.0, 8.0, 1.0, 8.0], [2.0] * 4])

    def largest(sets):
        return values[:, sets].max(axis=-1).T

    # winners of the batches: 0, 0, 1, 2; the pool of the other three gives 9, 8, 2
    assert winners(values, largest).rank == (3 + 3 + 2 + 1) / 4
    assert winners(values, mean_pool(values)).rank != winners(values, largest).rank
    by_largest = describe(values, largest, reliability=0.9)
    by_mean = describe(values, reliability=0.9)
    assert by_largest["by_batches"] != by_mean["by_batches"]


def test_batches_needed_follow_from_the_agreement_of_sets():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(60, 1)) + 2.0 * rng.normal(size=(60, 64))
    measures = describe(values, reliability=0.9)
    sizes = [entry["batches"] for entry in measures["by_batches"]]
    assert sizes == [1, 2, 4, 8, 16, 32]
    assert measures["batches_for"]["measured_up_to"] == 32
    measured = [
        (entry["batches"], entry["spearman"]) for entry in measures["by_batches"]
    ]
    assert measures["batches_for"]["batches"] == needed(measured, 0.9)
    # nothing is extrapolated for a pool that is not known to be the mean
    pooled = describe(values, mean_pool(values), reliability=0.9)
    assert pooled["by_batches"] == measures["by_batches"]
    assert pooled["batches_for"]["batches"] == needed(measured, 0.9, means=False)


def test_taus_of_sets_are_summarised_by_quartiles():
    values = np.random.default_rng(4).normal(size=(20, 8))
    taus = repeatability.agreement_of_sets(mean_pool(values), 8, 1, 200, 0).kendall
    first = describe(values, reliability=0.9)["by_batches"][0]
    quartiles = [first["lower"], first["upper"]]
    assert quartiles == pytest.approx(np.quantile(taus, [0.25, 0.75]))


def test_the_winner_of_a_batch_is_ranked_by_the_other_batches():
    # the second batch prefers candidate 2, which the first ranks last
    values = np.array([[0.0, 0.3], [1.0, 0.2], [2.0, 0.1]])
    assert winners(values, mean_pool(values)) == (0.0, 3.0)
