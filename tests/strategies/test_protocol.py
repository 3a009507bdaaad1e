"""What every search method of the table keeps to."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_search
from small_methods import SLOW_TO_COMPILE, SMALL, TWO_NODES, settings_of

from egnas_jax.cli.main import main
from egnas_jax.runs.presets import PRESETS
from egnas_jax.runs.search import run_search
from egnas_jax.runs.search_config import search_config
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.strategies import STRATEGIES

KEY = jax.random.key(0)

# What a method learns from decides how far it comes in 40 updates on the toy net.
FAMILIES = {
    "egnas": "exploration",
    "random_search": "random",
    "darts": "gradient",
    "snas": "gradient",
    "pc_darts": "gradient",
    "p_darts": "gradient",
    "enas": "controller",
    "nasnet_ppo": "controller",
    "ageing_evolution": "evolution",
    "nsga2": "evolution",
    "epcnas_pso": "evolution",
}
# At least so many times as often as in a random cell, where it takes one edge of seven,
# must the best primitive stand in the answer; 7 is all edges. The controllers' logits
# are bounded, as published, so that no policy of theirs comes above 2.3 in the mean;
# the best of ten of its cells does.
FACTORS = {
    "gradient": 6.5,
    "exploration": 3.0,
    "evolution": 3.5,
    "controller": 3.2,
    "random": 1.5,
}
BEST = 3  # index of the toy net's best primitive

every_name = pytest.mark.parametrize("name", sorted(STRATEGIES))
every_method = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_TO_COMPILE else [])
        for name in sorted(STRATEGIES)
    ],
)


@pytest.fixture(scope="module")
def methods(two_node_net, update_of):
    """name -> strategy on the toy supernet, and its compiled update."""
    strategies = {}
    for name, (config, make) in STRATEGIES.items():
        strategy = make(two_node_net, config(**SMALL[name]))
        strategies[name] = strategy, update_of(strategy, traced_once=True)
    return strategies


@pytest.fixture(scope="module")
def variables(two_node_net):
    return two_node_net.init(jax.random.key(1))


@pytest.fixture(scope="module")
def run_updates(methods, init_of, variables, toy_batch):
    """(name, number of updates) -> incumbents at the start and at the end."""

    def run(name, updates):
        strategy, update = methods[name]
        state = first = init_of(strategy, KEY)
        for step in range(updates):
            key = jax.random.fold_in(KEY, step)
            state, _ = update(key, state, variables, toy_batch)
        return strategy.incumbent(first), strategy.incumbent(state)

    return run


def share_of_best(mixing):
    """Share of the edges in use whose strongest primitive is the best one."""
    rows = np.concatenate([*mixing.primitives.values()])
    in_use = np.concatenate([*mixing.edges.values()]) > 0
    return np.mean(np.argmax(rows, axis=-1)[in_use] == BEST)


def loss(net, variables, batch, mixing):
    logits, _ = net.apply(variables, batch.images, mixing)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    return float(jnp.mean(losses))


@every_method
def test_update_keeps_the_layout_of_its_state_and_compiles_once(
    name, methods, init_of, variables, toy_batch
):
    strategy, update = methods[name]
    state = init_of(strategy, KEY)
    for step in range(3):
        new, info = update(jax.random.fold_in(KEY, step), state, variables, toy_batch)
        chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
        assert not any(leaf.weak_type for leaf in jax.tree.leaves(new))
        assert max((leaf.ndim for leaf in info.values()), default=0) <= 1
        # one of the two says what an update costs
        assert ("candidate_images" in info) == (strategy.passes is None)
        state = new


@every_method
def test_mixings_weigh_every_primitive_of_every_edge(name, methods, init_of):
    strategy, _ = methods[name]
    space, state = TWO_NODES, init_of(strategy, KEY)
    for mixing in (strategy.mixing(KEY, state), strategy.incumbent(state)):
        assert set(mixing.primitives) == set(mixing.edges) == set(space.kinds)
        for kind in space.kinds:
            rows = mixing.primitives[kind]
            assert rows.shape == (space.num_edges, len(space.primitives))
            assert mixing.edges[kind].shape == (space.num_edges,)
            np.testing.assert_allclose(jnp.sum(rows, axis=-1), 1.0, rtol=1e-6)
            assert jnp.min(rows) >= 0 and jnp.min(mixing.edges[kind]) >= 0
    trained = strategy.mixing(KEY, state).primitives.values()
    is_one_hot = all(np.isin(rows, (0.0, 1.0)).all() for rows in trained)
    assert is_one_hot == strategy.one_hot


@every_method
def test_a_genotype_can_be_derived_from_the_first_state(name, methods, init_of):
    strategy, _ = methods[name]
    incumbent = strategy.incumbent(init_of(strategy, KEY))
    genotype = derive_incumbent(strategy, TWO_NODES, incumbent)
    for kind in ("normal", "reduce"):
        assert len(genotype.concat(kind)) == 2
        assert len(genotype.blocks(kind)) >= 2


@every_method
def test_the_same_keys_give_the_same_search(name, run_updates):
    chex.assert_trees_all_equal(run_updates(name, 2), run_updates(name, 2))


@every_method
def test_it_learns_where_the_best_cell_is_known(
    name, run_updates, two_node_net, variables, toy_batch
):
    start, end = run_updates(name, 40)
    before, after = (loss(two_node_net, variables, toy_batch, m) for m in (start, end))
    assert after < before - 0.01
    times = share_of_best(end) * len(TWO_NODES.primitives)
    assert times >= FACTORS[FAMILIES[name]]


@every_method
def test_nan_weights_leave_no_nan_in_a_method_that_ranks(
    name, methods, init_of, variables, toy_batch
):
    strategy, update = methods[name]
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, variables)
    state, _ = update(KEY, init_of(strategy, KEY), broken, toy_batch)
    # a gradient of NaN is NaN: there the loop stops on the training loss
    ranks = STRATEGIES[name][0](**SMALL[name]).individuals is not None
    assert ranks == all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@every_method
def test_metrics_of_a_state_are_finite_scalars(name, methods, init_of):
    strategy, _ = methods[name]
    metrics = strategy.metrics or (lambda state: {})
    values = jax.jit(metrics)(init_of(strategy, KEY)).values()
    assert all(value.shape == () and np.isfinite(value) for value in values)


@every_name
def test_the_presets_hold_settings_of_the_method(name):
    for preset in PRESETS:
        assert search_config(preset, strategy=name).strategy_name == name


# rate of alpha's Adam, batch of the weight steps, and epochs in which alpha moves
PUBLISHED = {
    "darts": (3e-4, 64, 50),
    "pc_darts": (6e-4, 256, 35),
    "p_darts": (6e-4, 96, 3 * 15),
}


@pytest.mark.parametrize("preset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_alpha_can_go_as_far_as_in_the_published_search(name, preset):
    """Adam moves alpha by about its rate in a step, so the product is the way."""
    config = search_config(preset, strategy=name)
    plan = getattr(config.strategy, "plan", None)
    lengths = [config.epochs]
    if plan is not None:
        lengths = [stage.epochs for stage in plan(config.supernet, config.epochs)]
    moving = sum(length - config.strategy.warmup for length in lengths)
    steps = moving * (25_000 // config.batch_size)
    rate, batch_size, epochs = PUBLISHED[name]
    published = rate * epochs * (25_000 // batch_size)
    assert config.strategy.learning_rate * steps == pytest.approx(published, rel=0.03)


@every_method
def test_hyperparameters_are_scalars_that_share_one_program(
    name, methods, init_of, variables, toy_batch
):
    strategy, update = methods[name]
    halved = jax.tree.map(lambda leaf: 0.5 * leaf, strategy.hyperparams)
    assert {np.shape(leaf) for leaf in jax.tree.leaves(halved)} <= {()}
    # a second trace would be an error
    update(KEY, init_of(strategy, KEY), variables, toy_batch)
    update(KEY, init_of(strategy, KEY), variables, toy_batch, halved)


@every_name
def test_a_configuration_says_what_the_loop_asks_of_it(name):
    config = STRATEGIES[name][0](**SMALL[name])
    assert config.valid_batch_size in (1, 24)
    assert config.warmup == 0
    assert config.individuals is None or config.individuals > 8


def test_every_method_of_the_table_is_tested():
    assert set(SMALL) == set(FAMILIES) == set(STRATEGIES)


@pytest.mark.slow
@every_method
def test_a_run_resumes_to_the_bits_of_a_whole_one(name, tmp_path):
    """`verify` runs the whole search and compares every digest."""
    settings = tiny_search.OF_ANY_METHOD | settings_of(name) | {"epochs": 2}
    with tiny_search.registered_space():
        config = search_config(
            "digits", strategy=name, space=tiny_search.SPACE.name, settings=settings
        )
        run_search(config, out=tmp_path / "run", stop_after=1)
        resumed = run_search(config, out=tmp_path / "run", resume=True)
        assert main(["verify", str(tmp_path / "run"), "--from-start"]) == 0
    assert len({line["digest"] for line in resumed.records}) == 2
