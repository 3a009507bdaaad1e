"""What the device can do at most, measured: copies, matrix products, kernel starts."""

import statistics

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.programs import seconds_of

REPEATS = 5
STARTS = 500  # kernels of a chain


def median_seconds(function, *arguments, repeats: int = REPEATS) -> float:
    """Of a call after one that is not counted."""
    jax.block_until_ready(function(*arguments))
    return statistics.median(
        seconds_of(lambda: function(*arguments)) for _ in range(repeats)
    )


def copy_bandwidth(size: int) -> float:
    """Bytes a second, read and written ones added up.

    Args:
      size: bytes of the array; more than any cache holds.
    """
    x = jax.random.normal(jax.random.key(0), (size // 4,), jnp.float32)
    return 2 * x.nbytes / median_seconds(jax.jit(lambda x: x + 1.0), x)


def matmul_rate(side: int, dtype: str, precision: str | None) -> float:
    """Operations a second of a square matrix product; a multiply-add is two.

    The numbers are random: zeros draw less power and run faster.
    """
    keys = jax.random.split(jax.random.key(1))
    a, b = (jax.random.normal(key, (side, side), dtype) for key in keys)
    with jax.default_matmul_precision(precision):
        seconds = median_seconds(jax.jit(jnp.matmul), a, b)
    return 2 * side**3 / seconds


def seconds_per_kernel() -> float:
    """Of a small kernel in a chain of such, each of which waits for the one before."""

    def chain(x):
        for _ in range(STARTS):
            x = lax.optimization_barrier(x * 1.0001 + 1e-6)
        return x

    return median_seconds(jax.jit(chain), jnp.ones((1024,))) / STARTS


def measure(trial: bool) -> dict[str, float]:
    """All limits of the default device.

    Args:
      trial: small arrays, to see that the code runs; no figure of it is a limit.

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
