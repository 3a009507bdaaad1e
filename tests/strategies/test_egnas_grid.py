"""What other weights of the fitness would have chosen, against pricing by each."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.search.relax import unflatten
from egnas_jax.space import SPACES
from egnas_jax.strategies import egnas_grid
from egnas_jax.strategies.egnas import egnas
from egnas_jax.strategies.egnas_config import EGNASConfig
from egnas_jax.strategies.egnas_price import price

SMALL = EGNASConfig(
    warmup=1, population=8, samples=2, generations=2, fitness_batch_size=24,
    batch_stats="running", noise=0.5, zeta=0.4, eta=0.2,
)  # fmt: skip


@pytest.mark.parametrize("sign, tie", [("paper", "first"), ("centred", "last")])
def test_winners_are_those_that_each_pair_would_price_best(
    toy_net, toy_batch, sign, tie
):
    key_z, key_alpha = jax.random.split(jax.random.key(4))
    z = jax.random.normal(key_z, (12, 196))
    alpha = unflatten(SPACES["darts7"], jax.random.normal(key_alpha, (196,)))
    variables = toy_net.init(jax.random.key(0))
    config = dataclasses.replace(SMALL, sign=sign, tie=tie)
    expected = []
    for zeta, eta in itertools.product(egnas_grid.WEIGHTS, egnas_grid.WEIGHTS):
        own = dataclasses.replace(config, zeta=zeta, eta=eta)
        priced = price(toy_net, variables, alpha, z, *toy_batch, own)
        expected.append(int(priced.winner))
    found = egnas_grid.winners(priced, sign, tie)
    assert found.tolist() == expected
    assert len(set(expected)) > 1


def test_figures_count_populations_by_hand():
    chosen = jnp.zeros((2, 1, 16), jnp.int32).at[1, 0, :3].set(jnp.array([5, 7, 5]))
    figures = egnas_grid.figures(chosen, jnp.array([[0], [5]]))
    assert list(figures) == egnas_grid.names()
    assert float(figures["grid_1.0_1.0"]) == 1.0
    assert float(figures["grid_1.0_0.8"]) == 0.5
    assert float(figures["grid_0.2_0.2"]) == 0.5
    assert float(figures["grid_distinct"]) == (1 + 3) / 2


def test_the_run_agrees_with_itself_and_is_not_changed(toy_net, toy_batch):
    variables = toy_net.init(jax.random.key(0))
    states = []
    for grid in (False, True):
        config = dataclasses.replace(SMALL, price_grid=grid)
        strategy = egnas(toy_net, config)
        update = jax.jit(strategy.update)
        state = strategy.init(jax.random.key(1))
        key = jax.random.key(2)
        state, warming = update(key, state, variables, toy_batch, toy_batch)
        state, info = update(key, state, variables, toy_batch, toy_batch)
        states.append(state)
        assert set(info) >= set(egnas_grid.names()) if grid else True
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert np.isinf(warming["grid_1.0_0.4"])
    assert float(info["grid_0.4_0.2"]) == 1.0
    assert 1 < float(info["grid_distinct"]) <= 8
