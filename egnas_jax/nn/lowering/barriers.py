"""What XLA may fuse, and what stays a kernel of its own."""

import jax
from jax import lax

from egnas_jax.types import Array

# On the CPU XLA drops optimisation barriers before it fuses, and a depthwise kernel
# that is fused into its neighbours runs three to four times slower. This keeps them.
_REAL_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}


def compiler_options() -> dict[str, str]:
    """Options for the `jax.jit` of a program that holds a supernet."""
    return _REAL_BARRIERS if jax.default_backend() == "cpu" else {}


def materialise(x: Array) -> Array:
    """Keeps `x` a buffer of its own: what reads it is not fused with what makes it."""
    return lax.optimization_barrier(x)
