"""A race keeps the candidates that successive halving keeps, and chooses better."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from egnas_jax.search.racing import (
    Contest,
    Race,
    Round,
    num_batches,
    num_evaluations,
    plan_rounds,
    race,
)

THREE = (Round(8, 1), Round(4, 2), Round(2, 3))


def contest_of(values):
    """Candidates whose fitness is the mean of the rows of a table [M, P]."""
    table = jnp.asarray(values, jnp.float32)

    def evaluate(places, batches):
        return table[batches, places], jnp.ones((batches.stop - batches.start,))

    def fitness(scores, reference, places):
        assert scores.shape == (len(reference), len(places))
        return jnp.mean(scores, axis=0)

    return Contest(evaluate, fitness)


@functools.partial(jax.jit, static_argnames=("plan", "reliability", "tie"))
def run(values, plan, reliability=1.0, tie="first"):
    return race(contest_of(values), plan, reliability=reliability, tie=tie)


def halve(values, plan, reliability=1.0):
    """The same in numpy, written from the papers: order, batches and rounds."""
    table = np.asarray(values, np.float32).astype(np.float64)
    left, dropped, seen = list(range(table.shape[1])), [], 0
    batches = np.zeros(table.shape[1], int)
    number = 0
    for size, new in plan:
        number += 1
        left, dropped = left[:size], left[size:] + dropped
        seen += new
        batches[left] = seen
        means = {place: table[:seen, place].mean() for place in left}
        left.sort(key=means.get)
        best, second = left[:2]
        if seen > 1 and reliability < 1:
            test = stats.ttest_rel(table[:seen, second], table[:seen, best])
            if test.statistic > 0 and test.pvalue / 2 < 1 - reliability:
                break
    return left + dropped, batches, number


def test_the_rounds_of_a_budget_are_those_computed_by_hand():
    """50 and alpha on 4 batches are 204; 51 of its third, 52 of half the rest, 98."""
    plan = Race(budget=4, rounds=3, keep=0.5).plan(50, companions=1)
    assert plan == (Round(50, 1), Round(25, 2), Round(13, 7))
    assert num_batches(plan) == 10
    assert num_evaluations(plan, companions=1) == 51 + 2 * 26 + 7 * 14 == 201
    # 10 * 0.3 is a little more than 3 in floating point, and 0.1 ** 0 is 1
    assert Race(budget=2, rounds=2, keep=0.3).plan(10)[1].candidates == 3


@pytest.mark.parametrize("size", [4, 9, 50, 151])
@pytest.mark.parametrize("keep", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("rounds, budget", [(1, 1), (2, 3), (2, 16)])
def test_a_race_spends_the_budget_but_for_less_than_a_batch(size, keep, rounds, budget):
    options = Race(budget=budget, rounds=rounds, keep=keep)
    if np.ceil(size * keep ** (rounds - 1)) < 2:
        with pytest.raises(ValueError, match="strategy.race.rounds"):
            plan_rounds(options, size, 1)
        return
    plan = plan_rounds(options, size, 1)
    spare = budget * (size + 1) - num_evaluations(plan, 1)
    assert 0 <= spare < plan[-1].candidates + 1
    assert [each.candidates for each in plan] == [
        int(np.ceil(size * keep**r)) for r in range(rounds)
    ]
    assert num_batches(plan) >= budget


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(keep=1.0), "strategy.race.keep is 1.0"),
        (dict(keep=0.0), "strategy.race.keep is 0.0"),
        (dict(reliability=0.4), "strategy.race.reliability"),
        (dict(rounds=0), "strategy.race.rounds"),
        (dict(budget=0), "strategy.race.budget"),
        (dict(budget=2), "strategy.race.budget is 2, which gives round 1 of 3 no"),
        (dict(rounds=5, budget=9), "strategy.race.rounds is 5, .* round 5 .* 1 of 16"),
    ],
)
def test_a_race_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Race(**options).plan(16, companions=1)


@pytest.mark.parametrize("tie", ["first", "last"])
def test_one_round_is_the_evaluation_on_all_its_batches(tie):
    values = np.random.default_rng(0).integers(0, 3, (4, 8)).astype(np.float32)
    values[:, [2, 5]] = 0.0  # the best, and equal
    raced = run(values, (Round(8, 4),), tie=tie)
    means = values.mean(axis=0)
    np.testing.assert_allclose(raced.fitness, means)
    last = 7 - np.argmin(means[::-1])
    assert raced.order[0] == {"first": np.argmin(means), "last": last}[tie]
    assert np.argmin(means) != last  # so the two differ
    np.testing.assert_array_equal(raced.batches, 4)
    np.testing.assert_array_equal(raced.scores, values)


@pytest.mark.parametrize("reliability", [1.0, 0.8])
def test_the_survivors_are_those_of_successive_halving(reliability):
    """Noise twice as large as what tells the candidates apart."""
    rounds = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=8) + 2.0 * rng.normal(size=(6, 8))
        raced = run(values, THREE, reliability=reliability)
        order, batches, number = halve(values, THREE, reliability)
        np.testing.assert_array_equal(raced.order, order)
        np.testing.assert_array_equal(raced.batches, batches)
        np.testing.assert_array_equal(raced.rank, np.argsort(order))
        seen = np.where(np.arange(6)[:, None] < batches, values, 0.0)
        np.testing.assert_allclose(raced.scores, seen, rtol=1e-6)
        np.testing.assert_allclose(
            raced.fitness, seen.sum(axis=0) / batches, rtol=1e-4, atol=1e-6
        )
        assert raced.rounds == number
        rounds.add(number)
    # some races end early, and some do not
    assert rounds == ({3} if reliability == 1.0 else {2, 3})


def test_who_dropped_out_ranks_behind_also_with_a_better_fitness():
    """By hand: 2 is best but once, where it is last of four."""
    values = np.float32([[1, 2, 9, 3], [5, 6, 0, 0]])
    raced = run(values, (Round(4, 1), Round(2, 1)))
    np.testing.assert_array_equal(raced.order, [0, 1, 3, 2])
    np.testing.assert_allclose(raced.fitness, [3, 4, 9, 3])
    np.testing.assert_array_equal(raced.batches, [2, 2, 1, 1])


def test_candidates_without_a_fitness_drop_out_first():
    values = np.float32([[np.nan, 2, np.nan, 1], [0, 0, 0, 5]])
    raced = run(values, (Round(4, 1), Round(2, 1)), reliability=0.9)
    np.testing.assert_array_equal(raced.order, [1, 3, 0, 2])
    np.testing.assert_array_equal(np.isnan(raced.fitness), [True, False, True, False])


def test_rounds_that_are_left_out_evaluate_nothing():
    """Counted by the evaluation itself; the leader is better on every batch."""
    seen = []
    table = np.arange(8.0) + 0.01 * np.random.default_rng(0).normal(size=(6, 8))
    contest = contest_of(table)

    def evaluate(places, batches):
        jax.debug.callback(lambda places: seen.append(len(places)), places)
        return contest.evaluate(places, batches)

    counted = contest._replace(evaluate=evaluate)
    for reliability, sizes in ((1.0, [8, 4, 2]), (0.95, [8, 4])):
        seen.clear()
        run = jax.jit(functools.partial(race, counted, THREE, reliability=reliability))
        assert run().rounds == len(sizes)
        jax.effects_barrier()
        assert seen == sizes


def test_a_race_has_less_regret_than_one_batch_and_than_all_batches_at_equal_cost():
    """400 simulated populations of 16, with a fitness that is a quarter signal."""
    options = Race(budget=4, rounds=3, reliability=1.0)
    plan = options.plan(16)
    assert num_evaluations(plan) <= 4 * 16
    rng = np.random.default_rng(0)
    true = rng.normal(size=(400, 16))
    values = true[:, None] + 2.0 * rng.normal(size=(400, num_batches(plan), 16))
    raced = jax.vmap(functools.partial(run, plan=plan))(values.astype(np.float32))

    def regret(winners):
        return true[np.arange(400), winners] - true.min(axis=1)

    by_race = regret(np.asarray(raced.order[:, 0]))
    for batches in (1, 4):
        gain = regret(values[:, :batches].mean(axis=1).argmin(axis=1)) - by_race
        assert gain.mean() > 3 * stats.sem(gain), batches


def test_a_race_under_vmap_is_the_race_of_each():
    rng = np.random.default_rng(3)
    values = (rng.normal(size=(12, 1, 8)) + 2 * rng.normal(size=(12, 6, 8))).astype("f")
    go = functools.partial(run, plan=THREE, reliability=0.8)
    together = jax.vmap(go)(values)
    alone = [go(each) for each in values]
    for name in ("order", "batches", "rounds", "is_settled"):
        expected = np.stack([getattr(each, name) for each in alone])
        np.testing.assert_array_equal(getattr(together, name), expected)
    assert len(np.unique(together.rounds)) > 1
