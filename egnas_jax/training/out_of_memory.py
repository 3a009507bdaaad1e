"""Measures the free memory of a device, and names the program that ran out of it."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_SHARED_BY = contextvars.ContextVar("searches that share the memory", default=1)


class OutOfMemoryError(RuntimeError):
    """A program needs more memory than its device has.

    Attributes:
      program: "train", "validate", "evolve" or "watch" of a search, "train" or
        "evaluate" of a retraining.
    """

    def __init__(self, program: str, cause: str):
        super().__init__(f"Out of memory in {program}: {cause}")
        self.program = program


@contextlib.contextmanager
def out_of_memory_in(program: str) -> Iterator[None]:
    """Names the program in which XLA runs out of memory.

    Args:
      program: its name, see `OutOfMemoryError`.

    Raises:
      OutOfMemoryError: XLA ran out of memory; other errors pass through.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        cause = str(error).partition("\n")[0]
        if "RESOURCE_EXHAUSTED" in cause or "out of memory" in cause.lower():
            raise OutOfMemoryError(program, cause[:200]) from error
        raise


@contextlib.contextmanager
def memory_shared_by(searches: int) -> Iterator[None]:
    """Context in which the free memory of a device is that of one of several searches.

    Args:
      searches: number of searches that run side by side.
    """
    token = _SHARED_BY.set(searches)
    try:
        yield
    finally:
        _SHARED_BY.reset(token)


def free_bytes() -> int | None:
    """Returns the unused memory of the device; None where it is unknown (a CPU).

    It is the share of one search where `memory_shared_by` says so.

    The number is rounded down, by an eighth at most, so that it is the same in most
    runs: chunks depend on it, and so does the key of a cached program.
    """
    free = free_on_device()
    if free is None:
        return None
    free //= _SHARED_BY.get()
    spare = max(free.bit_length() - 4, 0)  # binary digits
    return free >> spare << spare


def free_on_device() -> int | None:
    """Unused memory of the device, whoever shares it; None where it is unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return max(stats["bytes_limit"] - stats.get("bytes_in_use", 0), 0)
