"""Every method that ranks cells answers one that keeps its limits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_methods import TWO_NODES

import egnas_jax as eg
from egnas_jax.search.relax import unflatten
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.strategies.controller.config import ENASConfig
from egnas_jax.strategies.controller.rewards import RewardEvaluator
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.limits.costs import make_excess
from egnas_jax.strategies.population_statistics import quantile_names

NETWORK = dict(channels=8, layers=5)
BLACK_BOX = dict(
    generations=4, fitness="loss", fitness_batch_size=24, finalists=2, final_batches=1
)
CONTROLLER = dict(hidden=8, samples=9, steps=2, batch_size=24, batches="shared")
SMALL = {
    "egnas": dict(warmup=0, population=8, samples=2, fitness_batch_size=24),
    "random_search": dict(candidates=24, fitness_batch_size=24),
    "enas": dict(CONTROLLER, finalists=30, conv_bias=0.0),
    "nasnet_ppo": dict(CONTROLLER, finalists=30, conv_bias=0.0),
    "ageing_evolution": dict(BLACK_BOX, population=12, tournament=6, children=9),
    "nsga2": dict(BLACK_BOX, population=12, offspring=9),
    "epcnas_pso": dict(BLACK_BOX, particles=12),
}
LONGEST = {"enas", "nasnet_ppo"}
KEY = jax.random.key(0)


def config_of(name, **limits):
    config, make = eg.STRATEGIES[name]
    return config(**SMALL[name], limit=Limit(**NETWORK, **limits)), make


def params_of(genotype):
    network = eg.NetworkConfig(**NETWORK, num_classes=3, auxiliary=False)
    return eg.cost(genotype, network).params


@pytest.mark.parametrize(
    "name",
    [
        "random_search",
        *(
            pytest.param(
                n, marks=pytest.mark.longest if n in LONGEST else pytest.mark.slow
            )
            for n in sorted(set(SMALL) - {"random_search"})
        ),
    ],
)
def test_the_genotype_keeps_the_limit(
    name, two_node_net, toy_batch, init_of, update_of
):
    # About a quarter of random cells are below this; the best cell is far above.
    limit = 21_200
    config, make = config_of(name, params=float(limit))
    strategy = make(two_node_net, config)
    update, state = update_of(strategy, traced_once=True), init_of(strategy, KEY)
    variables = two_node_net.init(jax.random.key(1))
    genotypes = [derive_incumbent(strategy, TWO_NODES, strategy.incumbent(state))]
    for step in range(3):
        key = jax.random.fold_in(KEY, step)
        state, info = update(key, state, variables, toy_batch)
        genotypes.append(
            derive_incumbent(strategy, TWO_NODES, strategy.incumbent(state))
        )
    assert all(params_of(genotype) <= limit for genotype in genotypes)
    if name not in ("egnas", "enas", "nasnet_ppo"):
        # The search itself found a cell within the limit.
        excess = make_excess(TWO_NODES, 3, config.limit)
        assert excess(strategy.incumbent(state)) == 0
        assert info["over_limit"] < 1
        assert 0 < info["fitness"] < 10


# The methods by generations evaluate their cells as random search does. What a limit
# does to the rewards of a controller has a test of its own below.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["egnas", "random_search"])
def test_a_limit_that_all_cells_keep_leaves_the_search_as_it_is(
    name, two_node_net, toy_batch, init_of, update_of
):
    incumbents = []
    for limits in (dict(), dict(params=1e9)):
        config, make = config_of(name, **limits)
        strategy = make(two_node_net, config)
        variables = two_node_net.init(jax.random.key(1))
        state = init_of(strategy, KEY)
        state, _ = update_of(strategy)(KEY, state, variables, toy_batch)
        incumbents.append(strategy.incumbent(state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *incumbents)


@pytest.mark.slow
def test_the_recorded_fitness_of_random_search_is_that_of_cells_within_the_limit(
    two_node_net, toy_batch, init_of, update_of
):
    infos = []
    for limits in (dict(), dict(params=21_200.0)):
        config, make = config_of("random_search", **limits)
        strategy = make(two_node_net, config)
        variables = two_node_net.init(jax.random.key(1))
        state = init_of(strategy, KEY)
        infos.append(update_of(strategy)(KEY, state, variables, toy_batch)[1])
    free, limited = infos
    assert 0 < limited["over_limit"] < 1
    # the same cells were evaluated, of which some are left out
    ends = ["population_fitness_min", "population_fitness_max"]
    assert free[ends[0]] <= limited[ends[0]] <= limited[ends[1]] <= free[ends[1]]
    assert any(free[name] != limited[name] for name in quantile_names("fitness"))


def test_a_limit_that_no_cell_keeps_is_refused_when_the_method_is_made(two_node_net):
    for name in SMALL:
        config, make = config_of(name, params=1000.0)
        with pytest.raises(ValueError, match="the least that a cell of the space"):
            make(two_node_net, config)


def test_a_controller_rewards_cells_over_a_limit_least(two_node_net):
    # The "mixings" are the excesses themselves.
    rewards = jnp.asarray([0.9, 0.8, -50.0, 0.7])
    excess = jnp.asarray([0.5, 0.0, 0.0, 2.0])
    for fitness, floor in (("accuracy", 0.0), ("loss", 1 - 2 * np.log(3))):
        config = ENASConfig(fitness=fitness)
        evaluator = RewardEvaluator(
            two_node_net, config, TWO_NODES, None, lambda mixing: mixing
        )
        np.testing.assert_allclose(
            evaluator.limited(rewards, excess),
            [floor - 1 - 1 / 3, 0.8, floor, floor - 1 - 2 / 3],
            rtol=1e-6,
        )
        evaluator = dataclasses.replace(evaluator, excess=None)
        assert evaluator.limited(rewards, excess) is rewards


def test_the_weight_grid_of_egnas_takes_no_limit():
    with pytest.raises(ValueError, match="weight_grid records choices without"):
        eg.EGNASConfig(weight_grid=True, limit=Limit(params=1e6))


@pytest.mark.slow
def test_individuals_of_egnas_rank_by_the_cells_that_are_derived_from_them(
    two_node_net, toy_batch
):
    limit, z = 24_500, 2.0 * jax.random.normal(KEY, (12, TWO_NODES.dim))
    alpha = unflatten(TWO_NODES, jnp.zeros(TWO_NODES.dim))
    variables = two_node_net.init(jax.random.key(1))

    def fitness_under(**limits):
        config, _ = config_of("egnas", **limits)
        arguments = alpha, z, toy_batch.images, toy_batch.labels, config
        return jax.jit(
            lambda: eg.evaluate_fitness(two_node_net, variables, *arguments).fitness
        )()

    sizes = np.asarray(
        [
            params_of(
                eg.derive(TWO_NODES, eg.softmax_mixing(unflatten(TWO_NODES, row)))
            )
            for row in z
        ]
    )
    free, fitness = fitness_under(), fitness_under(params=float(limit))
    kept = sizes <= limit
    assert 0 < kept.sum() < 12
    np.testing.assert_allclose(fitness[kept], free[kept], rtol=1e-5)
    assert fitness[~kept].min() > fitness[kept].max()
    np.testing.assert_array_equal(
        np.argsort(fitness[~kept], stable=True), np.argsort(sizes[~kept], stable=True)
    )
