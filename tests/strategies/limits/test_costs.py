"""Fitness under limits ranks cells over them last, and by how far they are over."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import egnas_jax as eg
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.limits.costs import (
    limit_metrics,
    limited_costs,
    limited_fitness,
    make_excess,
    mean_within,
    quantiles_within,
    without_over,
)
from egnas_jax.strategies.population_statistics import quantiles
from egnas_jax.strategies.random_search import random_child

SPACE = eg.SPACES["darts7"]


def children(number):
    keys = jax.random.split(jax.random.key(0), number)
    return jax.jit(jax.vmap(lambda key: random_child(key, SPACE)))(keys)


def costs_of(mixings, number):
    cells = [jax.tree.map(lambda leaf, i=i: leaf[i], mixings) for i in range(number)]
    return [eg.cost(cell, space=SPACE) for cell in cells]


def test_excess_is_the_sum_of_shares_over_each_limit():
    mixings = children(6)
    counted = costs_of(mixings, 6)
    limit = Limit(params=2.9e6, multiply_adds=4.7e8)
    excess = jax.jit(jax.vmap(make_excess(SPACE, 10, limit)))(mixings)
    by_hand = [
        max(0, c.params - 2.9e6) / 2.9e6 + max(0, c.multiply_adds - 4.7e8) / 4.7e8
        for c in counted
    ]
    assert 0 < sum(share > 0 for share in by_hand) < 6
    np.testing.assert_allclose(excess, by_hand, rtol=1e-5)


@pytest.mark.slow
def test_a_cell_exactly_at_its_limit_keeps_it():
    mixings = children(3)
    for index, counted in enumerate(costs_of(mixings, 3)):
        cell = jax.tree.map(lambda leaf, i=index: leaf[i], mixings)
        exact = Limit(multiply_adds=float(counted.multiply_adds))
        below = Limit(multiply_adds=counted.multiply_adds - 1.0)
        assert jax.jit(make_excess(SPACE, 10, exact))(cell) == 0
        assert jax.jit(make_excess(SPACE, 10, below))(cell) > 0


def test_cells_over_a_limit_rank_last_by_their_excess():
    fitness = jnp.asarray([0.3, jnp.nan, -2.0, 0.1, 0.2, jnp.inf])
    excess = jnp.asarray([0.0, 0.0, 1e-9, 3.0, 0.5, 0.0])
    # The "mixings" are the excesses themselves.
    ranked = limited_fitness(fitness, excess, lambda mixing: mixing)
    assert ranked[0] == fitness[0]
    assert list(np.argsort(ranked, stable=True)) == [0, 1, 5, 2, 4, 3]
    assert jnp.max(ranked) < 1e9 and jnp.isfinite(ranked).all()
    assert limited_fitness(fitness, excess, None) is fitness


def test_statistics_leave_out_what_is_over_a_limit():
    limit = Limit(params=1e6)
    fitness = jnp.asarray([1.0, 2.0, 3e8, 1e8])
    np.testing.assert_array_equal(without_over(fitness, limit), [1.0, 2.0, np.inf, 1e8])
    assert limit_metrics(fitness, limit) == {"over_limit": 0.25}
    assert mean_within(fitness[:3], limit) == 1.5
    assert quantiles_within(fitness[:3], limit) == quantiles(fitness=fitness[:2])
    assert without_over(fitness, Limit()) is fitness
    assert limit_metrics(fitness, Limit()) == {}
    assert mean_within(fitness[:2], Limit()) == 1.5
    assert quantiles_within(fitness, Limit()) == quantiles(fitness=fitness)


def test_statistics_of_a_population_over_a_limit_are_infinite_and_never_nan():
    limit = Limit(params=1e6)

    def statistics(fitness):
        values = without_over(fitness, limit), mean_within(fitness, limit)
        return values, quantiles_within(fitness, limit)

    with jax.debug_nans(True):  # NaN in a result is an error
        values = jax.jit(statistics)(jnp.asarray([2e8, 3e8]))
    assert all(jnp.isposinf(value).all() for value in jax.tree.leaves(values))


def test_no_limit_is_no_function():
    assert make_excess(SPACE, 10, Limit()) is None
    assert not Limit(channels=8).is_set


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(params=0.0), "strategy.limit.params is 0.0"),
        (dict(params=1e30), "strategy.limit.params is 1e\\+30"),
        (dict(multiply_adds=1.5), "multiply_adds is 1.5, but must be a whole number"),
        (dict(latency_ms=-1.0), "strategy.limit.latency_ms is -1.0"),
        (dict(frame="other"), "strategy.limit.frame is 'other'"),
        (dict(batch_size=0), "strategy.limit.batch_size is 0"),
    ],
)
def test_wrong_limits_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Limit(**wrong)


@pytest.mark.parametrize("value", ["3e6", True])
def test_a_limit_is_a_number(value):
    with pytest.raises(ValueError, match=f"params is {value!r}, but must be a number"):
        Limit(params=value)


def strongest(space, mixing):
    return eg.derive(SPACE, mixing)


def test_a_derivation_that_takes_no_limits_is_named():
    space = dataclasses.replace(SPACE, derive=functools.partial(strongest))
    line = strongest.__code__.co_firstlineno
    message = re.escape(f"has derive=strongest ({__file__}:{line}). Leave the limits")
    with pytest.raises(ValueError, match=f"derive='darts', .*{message}"):
        limited_costs(space, 10, Limit(params=1e6))
    chained = dataclasses.replace(SPACE, derive="argmax")
    with pytest.raises(ValueError, match="the space darts7 has derive='argmax'. Lea"):
        limited_costs(chained, 10, Limit(params=1e6))


def test_the_network_of_a_limit():
    network = Limit(params=1e6, channels=8, layers=5, image_size=8).network(SPACE, 3)
    assert network.config == eg.NetworkConfig(
        channels=8, layers=5, num_classes=3, auxiliary=False
    )
    assert network[1:] == (8, 3)
    stages = Limit(params=1e6).network(eg.SPACES["nasbench201"], 10)
    assert (stages.config.channels, stages.config.layers) == (16, 17)
