"""Tells failures of a running training apart from errors in its arguments."""

import contextlib
from collections.abc import Callable, Iterator

from egnas_jax.training.out_of_memory import OutOfMemoryError


@contextlib.contextmanager
def failures_explained(
    advise: Callable[[OutOfMemoryError], str],
) -> Iterator[None]:
    """Re-raises errors of a training as RuntimeErrors that say how to go on.

    Before the training starts, ValueError means that an argument cannot be used; the
    command line then exits with 2, and with 1 after a RuntimeError.

    Args:
      advise: which setting to change where memory ran out.

    Raises:
      RuntimeError: instead of OutOfMemoryError, ValueError and OSError.
    """
    try:
        yield
    except OutOfMemoryError as error:
        raise RuntimeError(advise(error)) from error
    except ValueError as error:
        raise RuntimeError(str(error)) from error
    except OSError as error:
        raise RuntimeError(
            f"{error}. Every checkpoint so far is whole: fix the cause (is the disk "
            f"full?) and go on with --resume."
        ) from error
