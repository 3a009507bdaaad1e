"""Tests of OpenES: mirrored samples and an update computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.evolution import open_es

KEY = jax.random.key(2, impl="threefry2x32")


def test_update_by_hand():
    evolution = open_es(2, 4, learning_rate=0.1, optimizer=optax.sgd)
    state = evolution.init(jnp.array([1.0, 2.0]), 0.5)
    noise = jnp.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, -2.0]])
    solutions = jnp.array([[1.0, 2.0]]) + 0.5 * noise
    state = evolution.tell(state, solutions, jnp.array([3.0, 1.0, 9.0, 5.0]))
    # Ranks 1 0 3 2 -> shaped -1/6 -1/2 1/2 1/6, so that the sum of shaped * noise is
    # (-1/6 - 1/2, -1 - 1/3) = (-2/3, -4/3); divided by P sigma = 2: (-1/3, -2/3).
    np.testing.assert_allclose(state.mean, [1 + 0.1 / 3, 2 + 0.2 / 3], rtol=1e-6)
    assert float(state.sigma) == 0.5
    assert int(state.generation) == 1


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate():
    evolution = open_es(2, 4, learning_rate=0.1)
    state = evolution.init(jnp.zeros(2), 1.0)
    solutions = jnp.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, -2.0]])
    state = evolution.tell(state, solutions, jnp.array([3.0, 1.0, 9.0, 5.0]))
    np.testing.assert_allclose(state.mean, [0.1, 0.1], rtol=1e-5)


@pytest.mark.parametrize("population_size", [2, 5, 6])
def test_the_halves_of_a_population_mirror_each_other(population_size):
    evolution = open_es(3, population_size)
    state = evolution.init(jnp.array([1.0, 2.0, 3.0]), 0.5)
    offsets = np.asarray(evolution.ask(KEY, state) - state.mean[None, :])
    pairs = population_size // 2
    mirrored = -offsets[pairs : 2 * pairs]
    np.testing.assert_allclose(offsets[:pairs], mirrored, atol=1e-6)
    assert len(np.unique(np.abs(offsets).round(4), axis=0)) == population_size - pairs


@pytest.mark.parametrize("learning_rate", [0.0, -0.1, float("nan")])
def test_a_learning_rate_that_is_not_positive_is_refused(learning_rate):
    with pytest.raises(ValueError, match=f"learning_rate is {learning_rate}"):
        open_es(3, 4, learning_rate)
