"""Says where the fused kernels can run.

They are compiled for NVIDIA GPUs alone. `interpret_kernels` lets tests run them on any
backend, as ordinary operations of XLA: program by program, thousands of times slower.
"""

import contextlib
import contextvars
from collections.abc import Iterator

from egnas_jax.nn.lowering.rules import target_backend

_interpreted = contextvars.ContextVar("interpreted kernels", default=False)


@contextlib.contextmanager
def interpret_kernels() -> Iterator[None]:
    """Interprets the fused kernels of the programs that are traced inside; for tests.

    A function of `jax.jit` that was traced before keeps its program.
    """
    token = _interpreted.set(True)
    try:
        yield
    finally:
        _interpreted.reset(token)


def is_interpreted() -> bool:
    """Whether fused kernels are interpreted."""
    return _interpreted.get()


def check_fused() -> None:
    """Refuses fused kernels on a backend that cannot run them.

    Raises:
      ValueError: the backend is no GPU, and kernels are not interpreted.
    """
    backend = target_backend()
    if backend != "gpu" and not is_interpreted():
        raise ValueError(
            f"supernet.lowering is fused, but the backend is {backend}: fused kernels "
            f"are compiled for NVIDIA GPUs alone. Choose auto, or run on a GPU."
        )
