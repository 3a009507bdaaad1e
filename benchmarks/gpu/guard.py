"""Kills halted jobs when the campaign that halted them was killed.

A halted process cannot notice by itself that its campaign is gone. So the campaign
starts `python -m benchmarks.gpu.guard` and names every group of processes to it: a line
"+GROUP" when it halts the group, "-GROUP" when the group goes on. At the end of the
lines, which is that of the campaign, the groups that are left are killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator


class Guard:
    """Names halted groups to a process in a session of its own, so that it survives."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu.guard"],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def note(self, group: int, *, is_halted: bool) -> None:
        """Takes note that a group of processes is halted, or goes on."""
        with contextlib.suppress(BrokenPipeError):  # it was killed: nobody guards
            self.process.stdin.write(f"{'+' if is_halted else '-'}{group}\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """Lets the process end."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def guarding() -> Iterator[Guard]:
    """A context with a guard."""
    guard = Guard()
    try:
        yield guard
    finally:
        guard.close()


def halted_groups(lines: Iterable[str]) -> set[int]:
    """The groups that are halted at the end of the lines."""
    groups: set[int] = set()
    for line in lines:
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    return groups


def main() -> None:
    """Reads the lines to their end and kills what is left."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with the campaign
    for group in halted_groups(sys.stdin):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
