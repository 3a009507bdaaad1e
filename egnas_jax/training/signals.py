"""Says which signals end a run, and how.

SIGTERM is what a scheduler sends before it kills (SLURM at the time limit, `docker
stop`, `timeout`), so it means the same as Ctrl-C.
"""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# With --distributed, a parent process waits for the child that runs the command, and
# passes signals on to it as this one. Schedulers send theirs to both, and a signal of
# its own kind keeps the child from counting one request twice.
FORWARDED = getattr(signal, "SIGUSR2", None)
# Seconds in which another SIGTERM is the same one: `timeout` sends it to the process
# and to its group.
ECHO = 1.0


class Echoes:
    """Tells a SIGTERM that was sent twice from a second request to stop."""

    def __init__(self):
        self.last = -float("inf")  # `time.monotonic` of the last signal

    def is_echo(self, number: int) -> bool:
        """Whether a signal that arrives now repeats the one before."""
        earlier, self.last = self.last, time.monotonic()
        return number == signal.SIGTERM and self.last - earlier < ECHO


class InterruptAtOnce:
    """A signal handler that raises KeyboardInterrupt, for SIGTERM as for SIGINT."""

    def __init__(self):
        self.echoes = Echoes()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt, unless the signal is an echo of the last one."""
        if not self.echoes.is_echo(number):
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
