"""Keeps XLA from fusing across the boundaries of a kernel."""

import jax
from jax import lax

from egnas_jax.types import Array

# On the CPU XLA drops optimisation barriers before it fuses, and a depthwise kernel
# that is fused with its neighbours runs three to four times slower. Without this pass
# the barriers stay.
_KEEP_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}


def compiler_options() -> dict[str, str]:
    """Options for the `jax.jit` of a program that contains a network."""
    return _KEEP_BARRIERS if jax.default_backend() == "cpu" else {}


def materialise(x: Array) -> Array:
    """Stores `x` in a buffer, so that its consumers are not fused with its producer."""
    return lax.optimization_barrier(x)
