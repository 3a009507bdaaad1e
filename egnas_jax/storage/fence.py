"""Stops a process before it writes, once it has lost the right to.

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
    """Context in which files are written only while a function does not object.

    Args:
      check: raises an error where this process may not write any more.
    """
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def check_fence() -> None:
    """Raises what the function of `fenced` raises; outside of it nothing."""
    check = _CHECK.get()
    if check is not None:
        check()
