"""Measures the limits of the device: copies, matrix products, kernel launches."""

import statistics

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.programs import seconds_of

REPEATS = 5
LAUNCHES = 500  # kernels of a chain


def median_seconds(function, *arguments, repeats: int = REPEATS) -> float:
    """Median seconds of a call, after one call that is not timed."""
    jax.block_until_ready(function(*arguments))
    return statistics.median(
        seconds_of(lambda: function(*arguments)) for _ in range(repeats)
    )


def copy_bandwidth(size: int) -> float:
    """Bytes read and written per second.

    Args:
      size: bytes of the array; must exceed every cache.
    """
    x = jax.random.normal(jax.random.key(0), (size // 4,), jnp.float32)
    return 2 * x.nbytes / median_seconds(jax.jit(lambda x: x + 1.0), x)


def matmul_rate(side: int, dtype: str, precision: str | None) -> float:
    """Operations per second of a square matrix product; a multiply-add counts as two.

    The entries are random, since zeros draw less power and run faster.
    """
    keys = jax.random.split(jax.random.key(1))
    a, b = (jax.random.normal(key, (side, side), dtype) for key in keys)
    with jax.default_matmul_precision(precision):
        seconds = median_seconds(jax.jit(jnp.matmul), a, b)
    return 2 * side**3 / seconds


def seconds_per_kernel() -> float:
    """Seconds of a small kernel in a chain where each waits for the previous one."""

    def chain(x):
        for _ in range(LAUNCHES):
            x = lax.optimization_barrier(x * 1.0001 + 1e-6)
        return x

    return median_seconds(jax.jit(chain), jnp.ones((1024,))) / LAUNCHES


def measure(trial: bool) -> dict[str, float]:
    """Measures all limits of the default device.

    Args:
      trial: uses small arrays, to test the code; the results are no limits.

    Returns:
      bytes_per_s; operations per second by precision, as `rows.PRECISIONS` names them;
      seconds_per_kernel.
    """
    side = 512 if trial else 8192
    return {
        "bytes_per_s": copy_bandwidth(2**24 if trial else 2**31),
        "float32": matmul_rate(side, "float32", "highest"),
        "default": matmul_rate(side, "float32", None),
        "bfloat16": matmul_rate(side, "bfloat16", None),
        "seconds_per_kernel": seconds_per_kernel(),
    }
