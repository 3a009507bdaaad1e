"""Tests of separable CMA-ES against the package `cmaes`."""

import cmaes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution import sep_cma_constants, sep_cma_es

KEY = jax.random.key(1, impl="threefry2x32")


@pytest.mark.parametrize(("dim", "population_size"), [(20, 12), (196, 50)])
def test_ten_generations_of_our_samples_agree_with_the_package(dim, population_size):
    mean = np.linspace(-1.0, 1.0, dim)
    evolution = sep_cma_es(dim, population_size)
    oracle = cmaes.SepCMA(mean.copy(), 0.5, population_size=population_size)
    state = evolution.init(mean, 0.5)
    for generation in range(10):
        solutions = evolution.ask(jax.random.fold_in(KEY, generation), state)
        values = jnp.sum(solutions**2 * (1.0 + jnp.arange(float(dim)))[None, :], axis=1)
        state = evolution.tell(state, solutions, values)
        numbers = np.asarray(solutions, np.float64)
        oracle.tell(list(zip(numbers, np.asarray(values, np.float64), strict=True)))
        for actual, value in [
            (state.mean, oracle._mean),
            (state.sigma, oracle._sigma),
            (state.C, oracle._C),
            (state.p_sigma, oracle._p_sigma),
            (state.p_c, oracle._pc),
        ]:
            atol = 2e-5 * np.max(np.abs(value))
            np.testing.assert_allclose(actual, value, rtol=0, atol=atol)


@pytest.mark.parametrize(("dim", "population_size"), [(1, 2), (2, 50), (196, 50)])
def test_no_variance_can_become_negative(dim, population_size):
    constants = sep_cma_constants(dim, population_size)
    assert np.sum(constants.weights) == pytest.approx(1.0)
    assert 0 < constants.c1 + constants.c_mu <= 1


def test_a_steep_coordinate_gets_a_small_variance():
    evolution = sep_cma_es(2, 12)

    def generation(state, key):
        solutions = evolution.ask(key, state)
        values = solutions[:, 0] ** 2 + 1e4 * solutions[:, 1] ** 2
        return evolution.tell(state, solutions, values), None

    state = evolution.init(jnp.ones(2), 1.0)
    state, _ = jax.lax.scan(generation, state, jax.random.split(KEY, 60))
    assert 1e3 < state.C[0] / state.C[1] < 1e5  # 1e4 at the optimum
