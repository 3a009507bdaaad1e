"""Starts and ends several processes of one search.

JAX aborts a process in C++ when its partner is lost, and may leave another one waiting.
So with `--distributed` the search runs in a child process: the command itself waits for
the child, reports what happened and returns the exit code. The child in turn ends when
its parent does, `kill -9` included.
"""

import contextlib
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator

import jax

from egnas_jax.cli.console import FAILED, INTERRUPTED, UNUSABLE, say
from egnas_jax.training.interrupt import Interrupted
from egnas_jax.training.processes import SharedError
from egnas_jax.training.signals import FORWARDED, SIGNALS

# A lost process is noticed at once, by its closed connections; a lost machine, which
# closes none, after this many seconds without a heartbeat.
HEARTBEAT = 60
JOINING = 300  # seconds that processes wait for each other at the start
LEAVING = 60  # and at the end
GO_ON = "Every checkpoint is whole: start all processes again, with --resume."
FAILED_EXCHANGE = re.compile("gloo|nccl|collective|connection|coordination", re.I)
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def supervised(command: Callable[[], int]) -> int:
    """Runs command() in a process of its own and returns its exit code.

    SIGINT and SIGTERM are handed on to it as one signal that no scheduler sends. This
    must happen before JAX has a backend, since a process with threads of XLA cannot
    fork.
    """
    if FORWARDED is None:
        say(
            "egnas: --distributed needs a system that can fork a process, which "
            "Windows cannot. Leave it out, or use Linux (WSL2 is one)."
        )
        return UNUSABLE
    child = multiprocessing.get_context("fork").Process(
        target=_in_child, args=(command,)
    )
    with _blocked_signals():  # until both processes have their handlers
        child.start()
        asked, previous = _hand_on_signals(child.pid)
    child.join()
    for number, handler in previous.items():
        signal.signal(number, handler)
    return _exit_code(child.exitcode, was_asked=bool(asked))


def _hand_on_signals(pid: int) -> tuple[list[int], dict]:
    """Hands signals on; returns a list that grows with them, and earlier handlers."""
    asked = []

    def hand_on(number, frame):
        asked.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, FORWARDED)

    previous = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # nohup's, say
            signal.signal(number, hand_on)
    return asked, previous


def _exit_code(code: int, *, was_asked: bool) -> int:
    """The exit code of a command whose process ended with a code or by a signal.

    Args:
      code: of the process; minus the number of the signal that ended it.
      was_asked: whether an interruption was handed on to it.
    """
    if code >= 0:
        return code
    say(
        f"egnas: this process was ended by signal {-code}, as JAX does where "
        f"another process of the run was lost, ended or never came. "
        f"{GO_ON}"
    )
    return INTERRUPTED if was_asked else FAILED


@contextlib.contextmanager
def _blocked_signals():
    """Context in which the signals that end a run wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS, FORWARDED})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_child(command):
    os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which hands it on
    for number in SIGNALS:  # schedulers send them to both processes
        signal.signal(number, signal.SIG_IGN)
    signal.signal(FORWARDED, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*SIGNALS, FORWARDED})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    raise SystemExit(command())


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(FAILED)


def process_of_environment() -> dict[str, str | int]:
    """Reads from the environment which process this is, for `jax.distributed`.

    Returns an empty dict where the variables are not set: JAX then asks SLURM or Open
    MPI.

    Raises:
      ValueError: a variable is missing or malformed.
    """
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if not given:
        return {}
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise ValueError(
            f"{' and '.join(given)} is set, but not "
            f"{' and '.join(missing)}. Set all three, or none under SLURM "
            f"or Open MPI."
        )
    address, count, number = given.values()
    if not (count.isdecimal() and number.isdecimal() and int(number) < int(count)):
        raise ValueError(
            f"JAX_PROCESS_ID is {number!r} and JAX_NUM_PROCESSES "
            f"{count!r}; they must be whole numbers, the first from 0 on "
            f"and below the second."
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"JAX_COORDINATOR_ADDRESS is {address!r}; it must be "
            f"HOST:PORT, where process 0 can be reached."
        )
    return {
        "coordinator_address": address,
        "num_processes": int(count),
        "process_id": int(number),
    }


@contextlib.contextmanager
def joined(distributed: bool) -> Iterator[None]:
    """Joins the processes that the environment names, and leaves them at the end.

    Where all processes end alike (a shared error or an interruption included), they
    wait for each other; otherwise this one leaves at once, and so tells the others.

    Args:
      distributed: False does nothing.

    Raises:
      ValueError: the environment names no processes.
      RuntimeError: communication failed; the message says how to go on.
    """
    if not distributed:
        yield
        return
    known = process_of_environment()
    # or two programs of a CPU would communicate at once, in either order
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            **known,
            initialization_timeout=JOINING,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=LEAVING,
        )
    except (ValueError, TypeError):
        raise ValueError(
            f"--distributed finds no other processes. Set {', '.join(VARIABLES)} "
            f"(HOST:PORT of process 0, how many there are, and which this is, from 0), "
            f"or start them by srun or mpirun."
        ) from None
    try:
        yield
    except (SharedError, Interrupted):
        jax.distributed.shutdown()
        raise
    except (RuntimeError, ValueError) as error:
        # jaxlib raises the one or the other
        if not FAILED_EXCHANGE.search(str(error)):
            raise
        cause = " ".join(str(error).split())[:200]
        raise RuntimeError(
            f"another process of the run was lost or ended ({cause}). {GO_ON}"
        ) from error
    jax.distributed.shutdown()
