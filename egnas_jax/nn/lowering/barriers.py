"""Keeps XLA from fusing across the boundaries of a kernel."""

from jax import lax

from egnas_jax.types import Array


def materialise(x: Array) -> Array:
    """Stores `x` in a buffer, so that its consumers are not fused with its producer."""
    return lax.optimization_barrier(x)


def keep_apart(*arrays: Array) -> tuple[Array, ...]:
    """Keeps XLA from joining the consumers of the results with other consumers.

    XLA joins kernels that read the same array, and merges barriers that have the same
    arguments. So pass, beside an array that others read too, one that has no other
    consumer: it makes this barrier a different one.
    """
    return lax.optimization_barrier(arrays)
