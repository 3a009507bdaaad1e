"""Calls a strategy as the loop does, on the toy supernet."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.search.strategy import Trainee


@pytest.fixture(scope="session")
def init_of():
    """(strategy, key) -> its first state."""
    return lambda strategy, key: strategy.init(key, strategy.hyperparams)


@pytest.fixture(scope="session")
def update_of():
    """strategy -> a compiled (key, state, variables, batch) -> state, info.

    The batch is that of training and of validation. Hyperparameters are arguments of
    the program, as in a search; others than the strategy's own can be given. With
    `traced_once` a second trace is an error.
    """

    def make(strategy, traced_once=False):
        def run(hyperparams, key, state, variables, batch):
            momentum = jax.tree.map(jnp.zeros_like, variables["params"])
            trainee = Trainee(variables, momentum, jnp.float32(0.1))
            return strategy.update(
                key,
                state,
                hyperparams,
                trainee,
                train_batch=batch,
                valid_batch=batch,
            )

        run = jax.jit(chex.assert_max_traces(run, n=1) if traced_once else run)

        def update(key, state, variables, batch, hyperparams=strategy.hyperparams):
            hyperparams = jax.tree.map(np.float32, hyperparams)
            return run(hyperparams, key, state, variables, batch)

        return update

    return make
