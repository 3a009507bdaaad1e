"""Keeps XLA from fusing across the boundaries of a kernel."""

from jax import lax

from egnas_jax.types import Array


def materialise(x: Array) -> Array:
    """Stores `x` in a buffer, so that its consumers are not fused with its producer."""
    return lax.optimization_barrier(x)


def keep_apart(*arrays: Array) -> tuple[Array, ...]:
    """Keeps XLA from joining the consumers of the results with other consumers.

    XLA joins kernels that read the same array. It also merges barriers of equal
    arguments, so a barrier of one shared array would keep nothing apart; these results
    share a barrier of their own if one of the arrays is not shared.
    """
    return lax.optimization_barrier(arrays)
