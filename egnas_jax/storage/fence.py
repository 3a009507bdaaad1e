"""Stops a process that has lost the right to write, before it writes.

A worker whose unit was taken over (it was paused, or cut off from the file system) may
wake up in the middle of a run. What it would write then belongs to another worker, so
every function that writes a file of a run asks the fence first.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

_CHECK: contextvars.ContextVar[Callable[[], None] | None] = contextvars.ContextVar(
    "check", default=None
)


@contextlib.contextmanager
def fenced(check: Callable[[], None]) -> Iterator[None]:
    """Context in which files are written only while a check passes.

    Args:
      check: raises an error where this process may not write any more.
    """
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def check_fence() -> None:
    """Calls the check of `fenced`, which may raise; does nothing outside of it."""
    check = _CHECK.get()
    if check is not None:
        check()
