"""The winners by other weights of the fitness equal evaluations with each of them."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from egnas_jax.search.relax import unflatten
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas import weight_grid
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness
from egnas_jax.strategies.egnas.strategy import egnas

SMALL = EGNASConfig(
    warmup=1,
    population=8,
    samples=2,
    generations=2,
    fitness_batch_size=24,
    batch_stats="running",
    noise=0.5,
    zeta=0.4,
    eta=0.2,
)


@pytest.mark.slow
@pytest.mark.parametrize("sign, tie", [("paper", "first"), ("centred", "last")])
def test_winners_equal_those_of_an_evaluation_with_each_pair(
    toy_net, toy_batch, sign, tie
):
    key_z, key_alpha = jax.random.split(jax.random.key(4))
    z = jax.random.normal(key_z, (12, 196))
    alpha = unflatten(SPACES["darts7"], jax.random.normal(key_alpha, (196,)))
    variables = toy_net.init(jax.random.key(0))
    config = dataclasses.replace(SMALL, sign=sign, tie=tie)
    expected = []
    for zeta, eta in itertools.product(weight_grid.WEIGHTS, weight_grid.WEIGHTS):
        own = dataclasses.replace(config, zeta=zeta, eta=eta)
        evaluated = evaluate_fitness(
            toy_net, variables, alpha, z, toy_batch.images, toy_batch.labels, own
        )
        expected.append(int(evaluated.winner))
    found = weight_grid.winners(evaluated, sign, tie)
    assert found.tolist() == expected
    assert len(set(expected)) > 1


def test_agreement_counts_populations_by_hand():
    chosen = np.zeros((4, 16), int)
    chosen[1, :3] = 5, 7, 5
    chosen[2, 15] = 1
    found = weight_grid.agreement(chosen)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1)
    assert (found[0, 1], found[0, 2], found[1, 3], found[3, 4]) == (0.75, 1, 0.75, 1)
    assert (found[15, 0], found[15, 14]) == (0.5, 0.75)


@pytest.mark.slow
def test_the_grid_holds_the_runs_own_choice_and_changes_nothing_else(
    toy_net, toy_batch, init_of, update_of
):
    variables = toy_net.init(jax.random.key(0))
    states = []
    for grid in (False, True):
        config = dataclasses.replace(SMALL, weight_grid=grid)
        strategy = egnas(toy_net, config)
        update = update_of(strategy)
        state = init_of(strategy, jax.random.key(1))
        key = jax.random.key(2)
        state, warming = update(key, state, variables, toy_batch)
        state, info = update(key, state, variables, toy_batch, epoch=1)
        states.append(state)
        assert ("grid_chosen" in info) == ("grid_own" in info) == grid
    jax.tree.map(np.testing.assert_array_equal, *states)
    for name in ("grid_chosen", "grid_own"):
        np.testing.assert_array_equal(warming[name], np.full_like(info[name], -1))
    chosen, own = np.asarray(info["grid_chosen"]), np.asarray(info["grid_own"])
    assert (chosen.shape, own.shape) == ((4, 16), (4,))
    pair = weight_grid.PAIRS.index((SMALL.zeta, SMALL.eta))
    np.testing.assert_array_equal(chosen[:, pair], own)
    assert (chosen.min(axis=1) < chosen.max(axis=1)).any()
