"""PC-DARTS against the numbers of its reference."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from packed_supernet import (
    KINDS,
    by_kind,
    largest_difference,
    moves_agree,
    read_batch,
    read_network,
    with_logits,
)

from egnas_jax.nn import lowering
from egnas_jax.search.strategy import Trainee
from egnas_jax.space import SPACES, derive
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.pc_darts import (
    edge_entropy,
    edge_normalised_mixing,
    node_softmax,
)
from egnas_jax.types import Mixing

SPACE = SPACES["darts8"]


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/pc_darts")


def test_the_edges_of_a_node_share_a_softmax(golden):
    mixing = edge_normalised_mixing(
        SPACE, by_kind(golden["alpha"]), by_kind(golden["beta"])
    )
    assert largest_difference(mixing.edges, golden["edges"]) < 1e-6
    # the node of NAS-Bench-201 with a single edge counts it fully
    assert node_softmax(SPACES["nasbench201"], jnp.arange(6.0))[0] == 1.0


def test_the_entropy_of_edges_is_that_of_the_nodes_on_average():
    even = node_softmax(SPACE, jnp.zeros(14))
    expected = np.log([2, 3, 4, 5]).mean()
    assert edge_entropy(SPACE, even) == pytest.approx(expected, rel=1e-6)
    one_edge = jnp.zeros(14).at[jnp.asarray([0, 2, 5, 9])].set(1.0)
    assert edge_entropy(SPACE, one_edge) == 0.0


def test_the_genotype_is_that_of_alpha_times_beta(golden):
    cells = json.loads(str(golden["cases_genotype"]))
    same_without_beta = 0
    for alpha, beta, (normal, reduce) in zip(
        golden["cases_alpha"], golden["cases_beta"], cells, strict=True
    ):
        mixing = edge_normalised_mixing(SPACE, by_kind(alpha), by_kind(beta))
        mixing = jax.tree.map(np.asarray, mixing)
        genotype = derive(SPACE, mixing)
        assert genotype.normal == tuple(map(tuple, normal))
        assert genotype.reduce == tuple(map(tuple, reduce))
        ones = {kind: np.ones(14) for kind in KINDS}
        same_without_beta += derive(SPACE, Mixing(mixing.primitives, ones)) == genotype
    assert same_without_beta < 25


def test_alpha_and_beta_stand_still_in_the_warm_up(
    toy_net, toy_batch, init_of, update_of
):
    config, make = STRATEGIES["pc_darts"]
    strategy = make(toy_net, config(batch_size=24, warmup=2))
    state = init_of(strategy, jax.random.key(0))
    update = update_of(strategy)
    variables = toy_net.init(jax.random.key(1))
    for epoch in (0, 1):
        new, _ = update(jax.random.key(2), state, variables, toy_batch, epoch=epoch)
        chex.assert_trees_all_equal(new, state)
    new, _ = update(jax.random.key(2), state, variables, toy_batch, epoch=2)
    assert all(np.any(new.alpha[kind] != state.alpha[kind]) for kind in KINDS)
    # the decay alone moves beta, which the toy net ignores
    assert all(np.any(new.beta[kind] != state.beta[kind]) for kind in KINDS)


@pytest.mark.slow
def test_gradients_and_three_steps_equal_the_reference(golden):
    net, variables = read_network(golden)
    net = with_logits(net, logits := [])
    config, make = STRATEGIES["pc_darts"]
    strategy = make(net, config(batch_size=16, warmup=0))
    alpha, beta = by_kind(golden["alpha"]), by_kind(golden["beta"])
    state = strategy.init(jax.random.key(0), strategy.hyperparams)
    state = state.replace(alpha=alpha, beta=beta)

    def update(state, batch):
        trainee = Trainee(variables, variables["params"], jnp.float32(0.1))
        batches = {"train_batch": batch, "valid_batch": batch}
        key = jax.random.key(0)
        return strategy.update(key, state, strategy.hyperparams, trainee, **batches)[0]

    update = jax.jit(update, compiler_options=lowering.compiler_options((8, 8)))
    for step in range(3):
        state = update(state, read_batch(golden, "x", "y", step))
        if step == 0:  # Adam's mean is half the gradient, with the decay in it
            means = optax.tree_utils.tree_get(state.optimizer, "mu")
            for mean, old, name in zip(
                means, (alpha, beta), ("g_alpha", "g_beta"), strict=True
            ):
                found = jax.tree.map(lambda m, a: 2.0 * m - 1e-3 * a, mean, old)
                assert largest_difference(found, golden[name]) < 1e-4
        for part, name in ((state.alpha, "alpha"), (state.beta, "beta")):
            expected = golden[f"trace_{name}"][step]
            assert moves_agree(part, expected, golden[name], 6e-4)
    jax.effects_barrier()
    assert len(logits) == 3
    expected = golden["logits_train"]
    assert np.abs(logits[0] - expected).max() < 1e-5 * np.abs(expected).max()
    losses = [
        -np.mean(jax.nn.log_softmax(values)[np.arange(16), golden["y"][step]])
        for step, values in enumerate(logits)
    ]
    np.testing.assert_allclose(losses, golden["trace_loss"], rtol=1e-5)
