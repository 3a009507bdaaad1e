"""Says which signals end a run, and how.

SIGTERM is what a scheduler sends before it kills (SLURM at the time limit, `docker
stop`, `timeout`), so it means the same as Ctrl-C.
"""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Sent to the process that runs a command by the process that waits for it. A third
# signal, because schedulers send theirs to both, and it must not count twice.
FORWARDED = getattr(signal, "SIGUSR2", None)
# Seconds in which another SIGTERM is the same one: `timeout` sends it to the process
# and to its group.
ECHO = 1.0


class InterruptAtOnce:
    """A signal handler that raises KeyboardInterrupt, for SIGTERM as for SIGINT.

    Attributes:
      last: `time.monotonic` of the last signal.
    """

    def __init__(self):
        self.last = -float("inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt, unless the signal is an echo of the last one."""
        earlier, self.last = self.last, time.monotonic()
        if number == signal.SIGTERM and self.last - earlier < ECHO:
            return
        raise KeyboardInterrupt


def interrupting_handlers() -> dict[int, object]:
    """Returns the handlers, by signal, of the signals that a training loop takes over.

    An ignored signal stays so (nohup), and a SIGTERM that the caller of a library
    function handles remains the caller's.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    # None: not installed by Python, which could not restore it
    taken = {
        number: handler
        for number, handler in handlers.items()
        if handler not in (signal.SIG_IGN, None)
    }
    terminate = taken.get(signal.SIGTERM)
    if callable(terminate) and not isinstance(terminate, InterruptAtOnce):
        del taken[signal.SIGTERM]
    if FORWARDED and isinstance(signal.getsignal(FORWARDED), InterruptAtOnce):
        taken[FORWARDED] = signal.getsignal(FORWARDED)
    return taken
