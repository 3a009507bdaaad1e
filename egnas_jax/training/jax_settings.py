"""Pins the settings of JAX under which runs compute, and lists those that may change.

JAX's context managers of settings are local to a thread, so a function that another
thread runs enters `pinned()` itself.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

# May change a result, by another rounding, another program or other random numbers.
RECORDED = (
    "jax_enable_x64",
    "jax_threefry_partitionable",
    "jax_default_prng_impl",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_default_matmul_precision",
    "jax_softmax_custom_jvp",
    "jax_allow_f16_reductions",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_effort",
    "jax_memory_fitting_level",
    "jax_optimization_level",
    "jax_compiler_enable_remat_pass",
    "jax_threefry_gpu_kernel_lowering",
    "jax_use_direct_linearize",
    "jax_use_shardy_partitioner",
    "jax_xla_profile_version",
    "jax_enable_pgle",
)


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Computes in 32 bits and with the partitionable random numbers.

    A run has the same digests whatever JAX_ENABLE_X64 and JAX_THREEFRY_PARTITIONABLE
    say. `@pinned()` pins a whole function.
    """
    with contextlib.ExitStack() as stack:
        # a setting that is right already stays, so that compiled functions are reused
        if jax.config.jax_enable_x64:
            stack.enter_context(jax.enable_x64(False))
        if not jax.config.jax_threefry_partitionable:
            stack.enter_context(jax.threefry_partitionable(True))
        yield


def current_settings() -> dict[str, Any]:
    """The values of `RECORDED` in this thread, as JSON; without what JAX lacks."""
    values = jax.config.values
    return {name: _plain(values[name]) for name in RECORDED if name in values}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(getattr(value, "value", value))  # of an enumeration, its word
