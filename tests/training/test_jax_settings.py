"""Runs compute in 32 bits, and what else may change a result is listed."""

import concurrent.futures

import jax
import jax.numpy as jnp
import pytest

from egnas_jax.training.jax_settings import RECORDED, current_settings, pinned


@pinned()
def dtype_of_zeros():
    return jnp.zeros(2).dtype


def test_a_pinned_function_computes_in_32_bits():
    with jax.enable_x64(True):
        assert jnp.zeros(2).dtype == jnp.float64
        assert dtype_of_zeros() == jnp.float32
        assert jnp.zeros(2).dtype == jnp.float64  # the caller's setting is back


def test_a_pinned_function_computes_in_32_bits_in_another_thread():
    before = jax.config.jax_enable_x64
    try:
        jax.config.update("jax_enable_x64", True)
        with pinned(), concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert pool.submit(dtype_of_zeros).result() == jnp.float32
    finally:
        jax.config.update("jax_enable_x64", before)


def test_a_pinned_function_draws_the_usual_numbers():
    key = jax.random.key(0, impl="threefry2x32")

    def draw():
        return jax.random.bits(key, (7,)).tolist()

    usual = draw()
    with jax.threefry_partitionable(False):
        assert draw() != usual
        with pinned():
            assert draw() == usual


@pytest.mark.parametrize(
    "name, value",
    [
        ("jax_default_matmul_precision", "highest"),
        ("jax_debug_nans", True),
        ("jax_enable_x64", True),
        ("jax_disable_jit", True),
        ("jax_random_seed_offset", 3),
    ],
)
def test_settings_that_change_results_are_listed(name, value):
    before = current_settings()
    # jax 0.11 has lost two of them
    assert set(before) <= set(RECORDED) and len(before) >= len(RECORDED) - 2
    try:
        jax.config.update(name, value)
        assert current_settings() == before | {name: value}
    finally:
        jax.config.update(name, before[name])
