"""Free memory of a device, and the program in which it ran out."""

import contextlib

import jax


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
def out_of_memory_in(program: str):
    """Names the program in which XLA runs out of memory.

    Raises:
      OutOfMemoryError: as said; other errors pass.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        cause = str(error).partition("\n")[0]
        if "RESOURCE_EXHAUSTED" in cause or "out of memory" in cause.lower():
            raise OutOfMemoryError(program, cause[:200]) from error
        raise


def free_bytes() -> int | None:
    """Memory of the device that is not in use; None where it does not say (a CPU).

    Rounded down, by an eighth at most, to a number that is the same in most runs:
    programs are kept by it, since chunks follow from it (search/ahead.py).
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    free = max(stats["bytes_limit"] - stats.get("bytes_in_use", 0), 0)
    spare = max(free.bit_length() - 4, 0)  # binary digits
    return free >> spare << spare
