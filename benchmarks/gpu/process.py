"""Starts the process of a job and exchanges messages with it.

The process writes one JSON object a line on its stdout: {"event": "ready" | "result" |
"end", ...}. After "ready" it waits for a line on its stdin, which gives it the card.
"""

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Protocol

from benchmarks.gpu.guard import Guard
from benchmarks.gpu.jobs import Job


class JobProcess(Protocol):
    """What the campaign needs of a process."""

    def messages(self) -> list[dict]:
        """The messages since the last call."""

    def grant(self, *, beside: int, halted: int) -> None:
        """Gives it the card while `beside` others compile and `halted` ones wait."""

    def halt(self) -> None:
        """Lets it stand still, but for its memory."""

    def go_on(self) -> None:
        """Lets it go on if it was halted."""

    def stop(self, *, at_once: bool = False) -> None:
        """Asks it to save and end, or kills it."""

    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""


def file_name(job: str) -> str:
    """Name of a job as part of the name of a file."""
    words = "".join(c if c.isalnum() else " " for c in job.lower()).split()
    return "-".join(words)


def with_flags(flags: str) -> str:
    """XLA_FLAGS of a process: the user's, and then the flags that it must have."""
    return " ".join(filter(None, (os.environ.get("XLA_FLAGS"), flags)))


class Subprocess:
    """A `JobProcess` that runs `benchmarks.gpu.child`, with a log of its own."""

    def __init__(
        self, job: Job, folder: pathlib.Path, env: Mapping[str, str], guard: Guard
    ):
        self.guard = guard
        logs = folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / f"{file_name(job.name)}.txt", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.child", json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **env, "XLA_FLAGS": with_flags(job.flags)},
                start_new_session=True,  # so that a signal reaches its children, too
            )
        self.read = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read_all, daemon=True)
        self.reader.start()

    def _read_all(self):
        for line in self.process.stdout:
            self.read.put(json.loads(line))

    def messages(self) -> list[dict]:
        """The messages since the last call."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.read.get_nowait())
        return found

    def grant(self, *, beside: int, halted: int) -> None:
        """Gives it the card while `beside` others compile and `halted` ones wait."""
        line = json.dumps({"beside": beside, "halted": halted})
        with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code tells
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    def halt(self) -> None:
        """Lets it and its children stand still; the guard kills them if we are."""
        self.guard.note(self.process.pid, is_halted=True)
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it and its children go on if they were halted."""
        self._signal(signal.SIGCONT)
        self.guard.note(self.process.pid, is_halted=False)

    def stop(self, *, at_once: bool = False) -> None:
        """Asks it and its children to save and end, or kills them."""
        self._signal(signal.SIGKILL if at_once else signal.SIGTERM)
        self.go_on()  # a halted process would get the request later

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def exit_code(self) -> int | None:
        """Its exit code once it has ended and all its messages were read."""
        code = self.process.poll()
        if code is not None:
            self.reader.join()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(BrokenPipeError):  # a grant that it never read
                    pipe.close()
        return code
