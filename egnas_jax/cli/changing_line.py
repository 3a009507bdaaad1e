"""Shows a line that changes: on a terminal in place, in a log now and then."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

PERIOD = 1.0  # seconds between two states of the line on a terminal
LOG_PERIOD = 15.0  # and in a log, which keeps all of them


@contextlib.contextmanager
def changing_line(text: Callable[[], str], stream: TextIO) -> Iterator[None]:
    """Context in which a line shows what a function returns.

    A terminal shows one line, which is gone at the end. Any other stream gets a line of
    its own every 15 seconds, and none where the context ends before that.

    Args:
      text: returns the line.
      stream: where to write.
    """
    console = Console(file=stream)
    if not console.is_terminal:
        with _repeated_line(text, stream):
            yield
        return
    with Live(
        get_renderable=lambda: Text(text(), no_wrap=True, overflow="ellipsis"),
        console=console,
        refresh_per_second=1 / PERIOD,
        transient=True,
        redirect_stdout=False,  # which may be a file
    ):
        yield


@contextlib.contextmanager
def _repeated_line(text: Callable[[], str], stream: TextIO) -> Iterator[None]:
    """Context in which a line is written after every period."""
    ended = threading.Event()

    def keep_writing() -> None:
        while not ended.wait(LOG_PERIOD):
            with contextlib.suppress(OSError, ValueError):  # the reader may be gone
                stream.write(f"{text()}\n")
                stream.flush()

    thread = threading.Thread(target=keep_writing, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
