"""Fixtures of the tests of networks."""

import functools

import jax
import numpy as np
import pytest


def _assert_close(actual, expected, tolerance=1e-5):
    def compare(a, b):
        assert np.shape(a) == np.shape(b)
        scale = max(np.abs(b).max(), 1e-6)
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)

    # Arithmetic on the host needs no compilation.
    jax.tree.map(compare, jax.device_get(actual), jax.device_get(expected))


@pytest.fixture(scope="session")
def assert_close():
    """Compares two trees leaf by leaf, relative to the largest value of each leaf."""
    return _assert_close


@pytest.fixture(scope="session")
def quick_jit():
    """`jax.jit` that compiles fast, for programs that run once."""
    options = {"xla_backend_optimization_level": 0}
    return functools.partial(jax.jit, compiler_options=options)
