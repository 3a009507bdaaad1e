"""What a matrix of candidates x batches says, against values worked out by hand."""

import numpy as np
import pytest

from egnas_jax.studies.noise import statistics


def test_components_of_a_small_matrix_by_hand():
    # rows 0 and 4 apart, columns 0 and 2, one interaction of +-1
    values = np.array([[0.0, 2.0], [4.0, 6.0]]) + np.array([[1.0, -1.0], [-1.0, 1.0]])
    found = statistics.components(values)
    # sums of squares: rest 4 on 1 degree, rows 16, columns 4
    assert found.rest == pytest.approx(4.0)
    assert found.candidate == pytest.approx((16.0 - 4.0) / 2)
    assert found.batch == pytest.approx(0.0)  # (4 - 4) / 2
    assert found.shares == pytest.approx({"candidate": 0.6, "batch": 0.0, "rest": 0.4})
    assert found.reliability == pytest.approx(6 / 10)


def test_components_are_those_that_made_a_large_matrix():
    rng = np.random.default_rng(0)
    candidate, batch = 2.0 * rng.normal(size=(400, 1)), 3.0 * rng.normal(size=(1, 400))
    found = statistics.components(candidate + batch + rng.normal(size=(400, 400)))
    np.testing.assert_allclose(found, (4.0, 9.0, 1.0), rtol=0.15)


def test_batches_that_are_counted_give_the_repeatability_asked_for():
    def mean_of(k):  # candidates 1, the rest 3.7
        return 1 / (1 + 3.7 / k)

    for measured in ([1], [1, 2, 4], [1, 2, 4, 8, 16, 32, 64]):
        points = [(k, mean_of(k)) for k in measured]
        for wanted in (0.5, 0.9, 0.99):
            count = counted(points, wanted)
            assert mean_of(count) >= wanted
            assert mean_of(count - 1) < wanted
    assert counted([(1, 0.5)], 0.9) == 9  # exactly
    assert counted([(1, 0.0), (2, 0.0)], 0.9) is None
    assert counted([(1, None)], 0.9) is None
    assert counted([(1, 1.0)], 0.9) == 1


def counted(measured, wanted, means=True):
    return statistics.batches_for(measured, wanted, means=means)


def test_batches_are_counted_between_those_that_were_measured():
    # odds 1, 1 and 16: as the square of the batches times 1/4 from the second on
    measured = [(1, 1 / 2), (2, 1 / 2), (8, 16 / 17)]
    for means in (True, False):
        assert counted(measured, 4 / 5, means) == 4
        assert counted(measured, 16 / 17, means) == 8
    # beyond them only means are known to go on
    assert counted(measured, 32 / 33) == 16
    assert counted(measured, 32 / 33, means=False) is None
    # what one batch lacks entirely several may have, and the other way round
    assert counted([(1, 0.0), (2, 0.95)], 0.9) == 2
    assert counted([(1, 0.2), (2, 1.0)], 0.9) == 2
    assert counted([(1, 0.2), (2, 0.0)], 0.9) is None


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
    assert [one["batches"] for one in found["by_batches"]] == [1, 2, 4]


def test_pure_noise_ranks_nothing():
    values = np.random.default_rng(2).normal(size=(50, 40))
    found = statistics.describe(values, reliability=0.9)
    assert abs(found["kendall"]["mean"]) < 0.02
    assert found["same_winner"] < 0.06  # chance: 1 / 50
    assert 20 < found["rank_of_winner"] < 31  # chance: 25.5


def test_more_batches_rank_better_as_predicted():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(60, 1)) + 2.0 * rng.normal(size=(60, 64))
    found = statistics.describe(values, reliability=0.8)["by_batches"]
    means = [one["mean"] for one in found]
    assert means == sorted(means)
    for one in found:  # of two normal variables
        # candidates 1, the rest 4
        correlation = 1 / (1 + 4 / one["batches"])
        assert abs(one["mean"] - 2 / np.pi * np.arcsin(correlation)) < 0.08
        assert abs(one["spearman"] - 6 / np.pi * np.arcsin(correlation / 2)) < 0.08


def test_repeatability_of_two_sets_by_hand():
    """Two batches: the only pair, in either order."""
    values = np.array([[0.0, 1.0], [2.0, 6.0], [4.0, 5.0]])
    found = statistics.repeated(statistics.mean_of(values), 2, 1, 3, seed=0)
    # ranks 1 2 3 and 1 3 2
    assert found.spearman == pytest.approx(0.5)
    assert found.kendall == pytest.approx([1 / 3] * 3)


def test_several_batches_are_asked_as_a_pool():
    """One whose answer is not the mean: the largest value of a set."""
    values = np.array([[0.0, 0.0, 9.0, 9.0], [1.0, 8.0, 1.0, 8.0], [2.0] * 4])

    def largest(sets):
        return values[:, sets].max(axis=-1).T

    # winners of the batches: 0, 0, 1, 2; the other three batches say 9 8 2 each
    assert statistics.winners(values, largest).rank == (3 + 3 + 2 + 1) / 4
    by_mean = statistics.winners(values, statistics.mean_of(values)).rank
    assert by_mean != statistics.winners(values, largest).rank
    said = statistics.describe(values, largest, reliability=0.9)
    mean = statistics.describe(values, reliability=0.9)
    assert said["by_batches"] != mean["by_batches"]


def test_a_description_counts_the_batches_that_ranks_take():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(60, 1)) + 2.0 * rng.normal(size=(60, 64))
    found = statistics.describe(values, reliability=0.9)
    sizes = [one["batches"] for one in found["by_batches"]]
    assert sizes == [1, 2, 4, 8, 16, 32]
    wanted = found["batches_for"]
    assert wanted["measured_up_to"] == 32
    measured = [(one["batches"], one["spearman"]) for one in found["by_batches"]]
    assert wanted["batches"] == counted(measured, 0.9)
    # what is no mean is not counted beyond its sets
    pooled = statistics.describe(values, statistics.mean_of(values), reliability=0.9)
    assert pooled["by_batches"] == found["by_batches"]
    assert pooled["batches_for"]["batches"] == counted(measured, 0.9, means=False)
    few = pooled["by_batches"][0]
    taus = statistics.repeated(statistics.mean_of(values), 64, 1, 200, 0).kendall
    assert [few["lower"], few["upper"]] == pytest.approx(
        np.quantile(taus, [0.25, 0.75])
    )


def test_the_winner_of_a_batch_is_ranked_by_the_others():
    # the second batch prefers candidate 2, which the first ranks last
    values = np.array([[0.0, 0.3], [1.0, 0.2], [2.0, 0.1]])
    assert statistics.winners(values, statistics.mean_of(values)) == (0.0, 3.0)
