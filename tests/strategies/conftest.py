"""Calls a strategy as the loop does, on the toy supernet."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_methods import TWO_NODES

from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.strategy import Trainee
from egnas_jax.space import SPACES


@pytest.fixture(scope="module")
def two_node_net(toy_net):
    """The toy supernet with cells of two nodes, whose space has its name meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, TWO_NODES.name, TWO_NODES)
        config = dataclasses.replace(toy_net.config, space=TWO_NODES.name)
        yield toy_net._replace(config=config)


@pytest.fixture(scope="session")
def init_of():
    """(strategy, key) -> its first state."""
    return lambda strategy, key: strategy.init(key, strategy.hyperparams)


@pytest.fixture(scope="session")
def update_of(toy_net):
    """strategy -> a compiled (key, state, variables, batch) -> state, info.

    All that the loop calls of a method in one step, apart from the weight step itself.
    The batch is that of training and of validation. Hyperparameters are arguments of
    the program, as in a search; others than the strategy's own can be given. With
    `traced_once` a second trace is an error.
    """

    def make(strategy, traced_once=False):
        def run(hyperparams, key, state, variables, batch, epoch):
            batches = {"train_batch": batch, "valid_batch": batch}
            if strategy.draws_batches:
                batches["draw_batch"] = lambda key, place=None: batch
            trainee = trainee_of(variables, epoch)
            state, info = strategy.update(key, state, hyperparams, trainee, **batches)
            if strategy.learn is not None:
                mixing = strategy.mixing(jax.random.fold_in(key, 1), state)
                state = strategy.learn(
                    state,
                    hyperparams,
                    mixing=mixing,
                    gradient=mixing_gradient(toy_net, variables, mixing, batch),
                    train_batch=batch,
                )
            return state, info

        run = jax.jit(chex.assert_max_traces(run, n=1) if traced_once else run)

        def update(
            key, state, variables, batch, hyperparams=strategy.hyperparams, epoch=0
        ):
            hyperparams = jax.tree.map(np.float32, hyperparams)
            return run(hyperparams, key, state, variables, batch, jnp.int32(epoch))

        return update

    return make


def trainee_of(variables, epoch):
    """The weights of an SGD that has just started."""
    return Trainee(
        variables=variables,
        momentum=jax.tree.map(jnp.zeros_like, variables["params"]),
        learning_rate=jnp.float32(0.1),
        epoch=epoch,
        momentum_rate=0.9,
        weight_decay=3e-4,
    )


def mixing_gradient(net, variables, mixing, batch):
    """The gradient of the training loss with respect to a mixing."""

    def network(mixing):
        return variables, mixing

    return batch_gradients(net, network, mixing, batch)[0].gradient
