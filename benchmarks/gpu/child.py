"""Runs one job of the campaign in a process of its own.

python -m benchmarks.gpu.child JOB, where JOB is the job's fields as a JSON list. The
environment says where results go and what the machine has (`settings`).
"""

import importlib.metadata
import json
import os
import pathlib
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

from benchmarks.gpu.ends import UnfinishedError, WrongError
from benchmarks.gpu.memory import DONE, FAILED, STOPPED, WRONG

OUT, DATA, EXECUTABLES, PLATFORM = (
    f"EGNAS_CAMPAIGN_{name}" for name in ("OUT", "DATA", "EXECUTABLES", "PLATFORM")
)

CACHE = "JAX_COMPILATION_CACHE_DIR"


class Settings(NamedTuple):
    """What all jobs of a call share.

    Attributes:
      out: folder of the campaign.
      data_dir: of CIFAR-10, or None.
      executables: folder of programs that were compiled beforehand, or None.
      platform: "gpu" or "cpu".
    """

    out: pathlib.Path
    data_dir: str | None
    executables: pathlib.Path | None
    platform: str


class Requests:
    """The lines of the campaign, read in a thread that notices the campaign's end.

    The pipe ends with the campaign, `kill -9` included. A job that went on would share
    the card with the rows of the next call, and keep the lock of its run.

    Args:
      lines: of the campaign.
      lost: called when they end.
    """

    def __init__(self, lines: TextIO, lost: Callable[[], None]):
        self.read = queue.SimpleQueue()
        threading.Thread(target=self._read_all, args=(lines, lost), daemon=True).start()

    def _read_all(self, lines, lost):
        for line in lines:
            self.read.put(line)
        lost()

    def readline(self) -> str:
        """Waits for the next line."""
        return self.read.get()


def end_at_once() -> None:
    """Kills this process and those that it started."""
    # A campaign starts every job as the leader of a group.
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


class Context:
    """What a task may do beside computing: take the card, and write results."""

    def __init__(self, settings: Settings, answers, requests, flags: str):
        self.settings, self.flags = settings, flags
        self.answers, self.requests = answers, requests
        # other processes when it got the card: those that compiled, and halted ones
        self.beside: int | None = None
        self.halted = 0

    def _send(self, event: str, **content) -> None:
        print(json.dumps({"event": event, **content}), file=self.answers, flush=True)

    def take_card(self) -> None:
        """Says that the job is ready and waits for the card; returns at once if held.

        The card is given back when the process ends.
        """
        if self.beside is None:
            self._send("ready", machine=machine(self.settings.platform))
            granted = json.loads(self.requests.readline())
            self.beside, self.halted = granted["beside"], granted.get("halted", 0)

    def write(self, name: str, result: dict[str, Any]) -> None:
        """Hands over a result, which replaces an earlier one of the same name."""
        from egnas_jax.storage.records import plain

        self._send("result", name=name, result=plain(result))

    def end(self, state: str, reason: str = "") -> None:
        """Says how the job ended."""
        self._send("end", state=state, reason=reason)


def machine(platform: str) -> dict[str, Any]:
    """Hardware and versions that the results depend on."""
    import jax

    installed = {part.name: part.version for part in importlib.metadata.distributions()}
    names = ("jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "torch")
    return {
        "platform": platform,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "jax": jax.__version__,
        "packages": {name: installed[name] for name in names if name in installed},
    }


def settings_of(environment: dict[str, str]) -> Settings:
    """Reads the settings that `environment_of` wrote."""
    executables = environment.get(EXECUTABLES)
    return Settings(
        out=pathlib.Path(environment[OUT]),
        data_dir=environment.get(DATA),
        executables=pathlib.Path(executables) if executables else None,
        platform=environment[PLATFORM],
    )


def environment_of(settings: Settings, own_cache: str = "") -> dict[str, str]:
    """The environment variables of a job's process.

    Args:
      settings: of the call.
      own_cache: name of a folder for compiled programs that no other job reads; "":
        the folder of all.
    """
    cache = pathlib.Path(os.environ.get(CACHE) or settings.out / "cache")
    named = {
        OUT: str(settings.out),
        DATA: settings.data_dir,
        EXECUTABLES: settings.executables and str(settings.executables),
        PLATFORM: settings.platform,
        "JAX_PLATFORMS": {"gpu": "cuda,cpu", "cpu": "cpu"}[settings.platform],
        # several processes are on the card, of which one computes
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # what a stopped job compiled serves its next attempt
        CACHE: str(cache / own_cache),
    }
    return {name: value for name, value in named.items() if value}


@contextmanager
def recorded(context: Context) -> Iterator[None]:
    """A context that says how what it contains ended."""
    try:
        yield
    except UnfinishedError as error:
        context.end(STOPPED, str(error))
    except Exception as error:
        import traceback

        traceback.print_exc()  # into the log
        first = str(error).partition("\n")[0][:300]
        state = WRONG if isinstance(error, WrongError) else FAILED
        context.end(state, f"{type(error).__name__}: {first}")
    else:
        context.end(DONE)


def run(task: Callable, context: Context, options: dict[str, Any]) -> None:
    """Runs a task and says how it ended."""
    with recorded(context):
        task(context, **options)


def main() -> None:
    from benchmarks.gpu.jobs import Job
    from benchmarks.gpu.tasks import task_named

    job = Job(*json.loads(sys.argv[1]))
    # stdout is for the messages alone, whatever a library in C prints
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    requests = Requests(sys.stdin, lost=end_at_once)
    context = Context(settings_of(dict(os.environ)), answers, requests, job.flags)
    run(task_named(job.task), context, job.options)
    answers.flush()
    os._exit(0)  # threads of an abandoned compilation would keep the process alive


if __name__ == "__main__":
    main()
