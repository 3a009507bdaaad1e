"""Lets SIGINT and SIGTERM end a command, whatever it is doing.

Python runs signal handlers between two of its bytecode instructions, so a signal that
arrives while XLA compiles would wait for minutes, longer than schedulers do before they
kill. A thread sees each signal at once, and ends the process where the command does
not.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

from egnas_jax.cli.console import INTERRUPTED, say
from egnas_jax.storage.claims import give_back_held
from egnas_jax.training.signals import FORWARDED, SIGNALS, InterruptAtOnce

PATIENCE = (
    10.0  # seconds; SLURM kills 30 s after its SIGTERM unless it is told otherwise
)
ENDED = (
    "Interrupted; every checkpoint so far is whole. Go on with --resume (of a study: "
    "start a worker again)."
)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Context in which SIGINT and SIGTERM raise KeyboardInterrupt in the main thread.

    Where that does not end the context within `PATIENCE` seconds, the process ends with
    exit code 130. A training loop that writes a checkpoint first has handlers of its
    own (`training.interrupt`), and all the time it needs. Handlers of the caller and
    ignored signals stay as they are; in other threads than the main one nothing
    changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, handler = (signal.SIG_DFL, signal.default_int_handler), InterruptAtOnce()
    numbers = filter(None, (*SIGNALS, FORWARDED))
    previous = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number, earlier in previous.items() if earlier in ours]
    for number in taken:
        signal.signal(number, handler)
    try:
        with _watched(handler):
            yield
    finally:
        for number in taken:
            signal.signal(number, previous[number])


@contextlib.contextmanager
def _watched(handler: InterruptAtOnce):
    """Context that ends the process where a signal of the handler does not end it."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    earlier = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(receiver, handler, ended))
    watcher.daemon = True
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        ended.set()
        sender.close()  # which the watcher reads as an end
        watcher.join()
        receiver.close()


def _watch(receiver, handler: InterruptAtOnce, ended: threading.Event) -> None:
    while numbers := receiver.recv(1):
        if signal.getsignal(numbers[0]) is not handler:
            continue  # a training loop has its own
        if not ended.wait(PATIENCE):
            _give_back()
            say(ENDED)
            os._exit(INTERRUPTED)


def _give_back() -> None:
    """Gives the unit of a worker back, unless the file system does not answer."""
    thread = threading.Thread(target=give_back_held, daemon=True)
    thread.start()
    thread.join(PATIENCE)
