"""Chooses the options with which XLA compiles a program that contains a network."""

import functools
import os

import jax
import jax.numpy as jnp

from egnas_jax.nn.lowering.choice import is_tiny

# On the CPU XLA drops optimisation barriers before it fuses, and a depthwise kernel
# that is fused with its neighbours runs three to four times slower. Without this pass
# the barriers stay.
_KEEP_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}
# A kernel of tiny images runs for microseconds, but by default it takes 10 ms to
# compile. XLA's older emitters and a lower level of LLVM make that 4 ms, and the
# kernels run as fast (benchmarks/README.md). Programs of larger images gain nothing.
_QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}

# On a GPU this pass makes kernels of normalisations. The fusion that follows tries all
# tilings of such a kernel, and their number explodes with the axes of its arrays: one
# weight step of eight searches together took 480 s of processor time to compile, and
# takes 15 s without the pass, to kernels as fast (docs/gpu.md).
_FEW_TILINGS = {"xla_disable_hlo_passes": "triton-softmax-rewriter"}


def compiler_options(shape: tuple[int, int] | None = None) -> dict[str, str | int]:
    """Options for the `jax.jit` of a program that contains a network.

    Args:
      shape: H, W of the images of a supernet, whose program compiles with less
        optimisation if they are tiny, apart from what `XLA_FLAGS` sets; None for a
        program of images of any size.
    """
    backend = jax.default_backend()
    if backend != "cpu":
        return _FEW_TILINGS if backend == "gpu" else {}
    return _KEEP_BARRIERS | (_quick() if shape and is_tiny(shape) else {})


@functools.cache
def _quick() -> dict[str, str | int]:
    """The options of tiny images that XLA_FLAGS leaves open and this XLA has."""
    words = os.environ.get("XLA_FLAGS", "").split()
    given = {word.lstrip("-").partition("=")[0] for word in words}
    return {
        name: value
        for name, value in _QUICK.items()
        if name not in given and _is_known(name, value)
    }


def _is_known(name: str, value: str | int) -> bool:
    shape = jax.ShapeDtypeStruct((), jnp.float32)  # no transfer to the device
    program = jax.jit(lambda x: x, compiler_options={name: value})
    try:
        program.lower(shape).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
