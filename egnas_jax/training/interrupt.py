"""Ends a training loop early: on a signal, and on a loss that is not finite."""

import contextlib
import pathlib
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from egnas_jax.storage import checkpoint
from egnas_jax.training.processes import any_process
from egnas_jax.training.signals import ECHO, interrupting_handlers

SAVED = "Interrupted; a checkpoint was written. Go on with --resume."


class Interrupted(KeyboardInterrupt):  # noqa: N818
    """The run was asked to stop and has written a checkpoint."""


class InterruptFlag:
    """Context in which the first signal is remembered; the second acts at once.

    Entering gives a function that says whether any process was interrupted. Python
    lets the main thread alone handle signals; in other threads nothing is remembered.

    Args:
      log: called with a note when a signal arrives.
    """

    def __init__(self, log: Callable[[str], None]):
        self.log = log

    def __enter__(self) -> Callable[[], bool]:
        self.seen: float | None = None
        is_main = threading.current_thread() is threading.main_thread()
        self.before = interrupting_handlers() if is_main else {}
        for number in self.before:
            signal.signal(number, self._remember)
        return lambda: any_process(self.seen is not None)

    def _remember(self, number, frame):
        now = time.monotonic()
        if self.seen is None:
            self.seen = now
            self.log("Stopping at the next checkpoint; once more stops at once.")
        elif number != signal.SIGTERM or now - self.seen >= ECHO:
            self._restore()
            signal.raise_signal(number)

    def _restore(self):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __exit__(self, *error: object) -> None:
        self._restore()


def flag_where_saved(
    folder: pathlib.Path | None, log: Callable[[str], None]
) -> AbstractContextManager[Callable[[], bool]]:
    """Returns a context that delays a signal until a checkpoint is written.

    Without a run directory there is nothing to save, and a signal acts at once.

    Args:
      folder: run directory, or None.
      log: called with a note when a signal arrives.
    """
    if folder is None:
        return contextlib.nullcontext(lambda: False)
    return InterruptFlag(log)


def check_finite(
    folder: pathlib.Path | None, epoch: int, which: str, loss: float
) -> None:
    """Refuses a loss that is NaN or infinite.

    Args:
      folder: run directory, or None where nothing is written.
      epoch: of the loss, from 0.
      which: "training" or "validation", for example.
      loss: its value.

    Raises:
      FloatingPointError: the loss is not finite; names epoch and last checkpoint.
    """
    if np.isfinite(loss):
        return
    saved = checkpoint.steps(folder / "checkpoints") if folder else []
    where = f"step {saved[-1]} in {folder / 'checkpoints'}" if saved else "none"
    raise FloatingPointError(
        f"The {which} loss is {loss} in epoch {epoch}; last good checkpoint: {where}. "
        f"Lower learning_rate, or look at the images."
    )
