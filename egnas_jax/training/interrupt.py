"""How a training loop ends early: SIGINT, and a loss that is not finite."""

import pathlib
import signal
from collections.abc import Callable

import numpy as np

from egnas_jax.storage import checkpoint
from egnas_jax.training.processes import any_process

SAVED = "Interrupted; a checkpoint was written. Go on with --resume."


class Interrupted(KeyboardInterrupt):  # noqa: N818
    """The run was asked to stop and has written a checkpoint."""


class InterruptFlag:
    """While it is open, the first SIGINT is remembered; the second is immediate.

    Of several processes each is interrupted that any of them is.
    """

    def __init__(self, report: Callable):
        self.report = report

    def __enter__(self):
        self.seen = False
        self.before = signal.getsignal(signal.SIGINT)
        if self.before is not signal.SIG_IGN:  # nohup's, say
            signal.signal(signal.SIGINT, self._remember)
        return lambda: any_process(self.seen)

    def _remember(self, number, frame):
        self.seen = True
        signal.signal(number, self.before)
        self.report("Stopping at the next checkpoint; once more stops at once.")

    def __exit__(self, *error):
        signal.signal(signal.SIGINT, self.before)


def check_finite(
    folder: pathlib.Path | None, epoch: int, which: str, loss: float
) -> None:
    """Refuses a loss that is not finite.

    Args:
      folder: of the run, or None where this process has none.
      epoch, which, loss: what was measured.

    Raises:
      FloatingPointError: with epoch and last checkpoint.
    """
    if np.isfinite(loss):
        return
    saved = checkpoint.steps(folder / "checkpoints") if folder else []
    where = f"step {saved[-1]} in {folder / 'checkpoints'}" if saved else "none"
    raise FloatingPointError(
        f"The {which} loss is {loss} in epoch {epoch}; last good checkpoint: {where}. "
        f"Lower learning_rate, or look at the images."
    )
