"""What every search method of the table keeps to."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.space import SPACES, derive
from egnas_jax.strategies import STRATEGIES

# small, and without the term of the fitness that rewards being worse
SMALL = {
    "egnas": dict(warmup=0, population=8, samples=2, eta=0.0, fitness_batch_size=24),
    "random_search": dict(candidates=8, fitness_batch_size=24),
    "darts": dict(learning_rate=0.1, batch_size=24),
}
KEY = jax.random.key(0)

every = pytest.mark.parametrize("name", sorted(STRATEGIES))


@pytest.fixture(scope="module")
def made(toy_net):
    """name -> strategy on the toy supernet, and its compiled update."""
    strategies = {}
    for name, (config, make) in STRATEGIES.items():
        strategy = make(toy_net, config(**SMALL[name]))
        strategies[name] = strategy, jax.jit(strategy.update)
    return strategies


@pytest.fixture(scope="module")
def variables(toy_net):
    return toy_net.init(jax.random.key(1))


def layout(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


def after(made, name, variables, batch, updates):
    """Start and end of a few updates."""
    strategy, update = made[name]
    state = first = strategy.init(KEY)
    for step in range(updates):
        state, _ = update(jax.random.fold_in(KEY, step), state, variables, batch, batch)
    return strategy.incumbent(first), strategy.incumbent(state)


def loss(toy_net, variables, batch, mixing):
    logits, _ = toy_net.apply(variables, batch.images, mixing)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    return float(jnp.mean(losses))


@every
def test_update_keeps_the_layout_of_its_state_and_compiles_once(
    name, made, variables, toy_batch
):
    strategy, _ = made[name]

    @jax.jit
    @chex.assert_max_traces(n=1)
    def update(key, state):
        return strategy.update(key, state, variables, toy_batch, toy_batch)

    state = strategy.init(KEY)
    for step in range(3):
        new, info = update(jax.random.fold_in(KEY, step), state)
        assert layout(new) == layout(state)
        assert {leaf.shape for leaf in info.values()} <= {()}
        state = new


@every
def test_mixings_weigh_every_primitive_of_every_edge(name, made):
    strategy, _ = made[name]
    space, state = SPACES["darts7"], made[name][0].init(KEY)
    for mixing in (strategy.mixing(KEY, state), strategy.incumbent(state)):
        assert set(mixing.primitives) == set(mixing.edges) == set(space.kinds)
        for kind in space.kinds:
            rows = mixing.primitives[kind]
            assert rows.shape == (space.num_edges, len(space.primitives))
            assert mixing.edges[kind].shape == (space.num_edges,)
            np.testing.assert_allclose(jnp.sum(rows, axis=-1), 1.0, rtol=1e-6)
            assert jnp.min(rows) >= 0 and jnp.min(mixing.edges[kind]) >= 0


@every
def test_a_genotype_can_be_derived_from_the_start(name, made):
    incumbent = made[name][0].incumbent(made[name][0].init(KEY))
    genotype = derive(SPACES["darts7"], jax.tree.map(np.asarray, incumbent))
    assert len(genotype.normal) == len(genotype.reduce) == 8


@every
def test_the_same_keys_give_the_same_search(name, made, variables, toy_batch):
    _, once = after(made, name, variables, toy_batch, 2)
    _, again = after(made, name, variables, toy_batch, 2)
    jax.tree.map(np.testing.assert_array_equal, once, again)


@every
def test_it_learns_where_the_best_cell_is_known(
    name, made, toy_net, variables, toy_batch
):
    start, end = after(made, name, variables, toy_batch, 40)
    before, now = (loss(toy_net, variables, toy_batch, m) for m in (start, end))
    assert now < before - 0.01
    share = {"start": start, "end": end}
    good = {k: float(jnp.mean(m.primitives["normal"][:, 3])) for k, m in share.items()}
    assert good["end"] > good["start"]


# a gradient of NaN is NaN: under DARTS the loop stops on the training loss
@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"darts"}))
def test_weights_gone_wrong_leave_no_nan_in_a_black_box(
    name, made, variables, toy_batch
):
    strategy, update = made[name]
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, variables)
    state, _ = update(KEY, strategy.init(KEY), broken, toy_batch, toy_batch)
    for leaf in jax.tree.leaves(state):
        assert jnp.all(jnp.isfinite(leaf))


def test_every_method_of_the_table_is_tested():
    assert set(SMALL) == set(STRATEGIES)
