"""Tests of ranks of fitness: NaN last, ties by index, evenly spaced around zero."""

import jax.numpy as jnp
import numpy as np

from egnas_jax.evolution.shaping import centred_ranks, order, ranks

NAN, INF = float("nan"), float("inf")


def test_nan_and_infinity_rank_last_by_index():
    fitness = jnp.array([NAN, 2.0, INF, -1.0, NAN])
    np.testing.assert_array_equal(order(fitness), [3, 1, 0, 2, 4])
    np.testing.assert_array_equal(ranks(fitness), [2, 1, 3, 0, 4])


def test_of_equal_values_the_lower_index_comes_first():
    np.testing.assert_array_equal(ranks(jnp.array([1.0, 0.0, 1.0, 0.0])), [2, 0, 3, 1])
    # Long enough for an unstable sort to fail.
    np.testing.assert_array_equal(order(jnp.zeros(500)), np.arange(500))


def test_centred_ranks_span_minus_half_to_half():
    shaped = centred_ranks(jnp.array([30.0, 10.0, 20.0, 1e9, NAN]))
    np.testing.assert_allclose(shaped, [0.0, -0.5, -0.25, 0.25, 0.5])
