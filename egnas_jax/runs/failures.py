"""Tells errors of a run that has begun from errors of its arguments."""

import contextlib
from collections.abc import Callable, Iterator

from egnas_jax.training.out_of_memory import OutOfMemoryError


@contextlib.contextmanager
def running(advise: Callable[[OutOfMemoryError], str] = str) -> Iterator[None]:
    """Re-raises the errors of a run that has begun as RuntimeError.

    A ValueError or OSError before a run begins is a fault of its arguments (exit code
    2 of the command line); afterwards it is a failure (exit code 1).

    Args:
      advise: the error of a device out of memory -> which setting to change, and how
        to go on.

    Raises:
      RuntimeError: the run failed; has the message of the error, and says what to do.
    """
    try:
        yield
    except OutOfMemoryError as error:
        raise RuntimeError(advise(error)) from error
    except ValueError as error:
        raise RuntimeError(str(error)) from error
    except OSError as error:
        raise RuntimeError(
            f"{error}. Every checkpoint so far is whole: remove the cause (is the disk "
            f"full?) and go on with --resume."
        ) from error
