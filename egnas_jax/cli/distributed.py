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
from egnas_jax.cli.launcher import VARIABLES, process_of_environment
from egnas_jax.cli.local_devices import devices_of_environment
from egnas_jax.training.interrupt import Interrupted
from egnas_jax.training.processes import SharedError
from egnas_jax.training.signals import FORWARDED, SIGNALS, Echoes

# A lost process is noticed at once, by its closed connections; a lost machine, which
# closes none, after this many seconds without a heartbeat.
HEARTBEAT = 60
JOINING = 300  # seconds that processes wait for each other at the start
LEAVING = 60  # and at the end
GO_ON = "Every checkpoint is whole: start all processes again, with --resume."
FAILED_EXCHANGE = re.compile("gloo|nccl|collective|connection|coordination", re.I)


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
    """Hands signals on; returns a list that collects them, and the earlier handlers."""
    asked, echoes = [], Echoes()

    def hand_on(number, frame):
        if echoes.is_echo(number):
            return
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


@contextlib.contextmanager
def joined(distributed: bool) -> Iterator[None]:
    """Joins the processes that the environment names, and leaves them at the end.

    Where all processes end alike (a shared error or an interruption included), they
    wait for each other; otherwise this one leaves at once, which tells the others.

    Args:
      distributed: False does nothing.

    Raises:
      ValueError: the environment names no processes, or leaves devices idle.
      RuntimeError: communication failed; the message says how to go on.
    """
    if not distributed:
        yield
        return
    known = process_of_environment() | devices_of_environment()
    # it would take SIGTERM, which ends a run here
    jax.config.update("jax_enable_preemption_service", False)
    # or two programs of a CPU would communicate at once, in either order
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    number = known.get("process_id", os.environ.get("SLURM_PROCID", 0))
    if str(number) == "0":
        say(f"Waiting up to {JOINING} s for the other processes of the search.")
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
            f"or start them by srun or mpirun (Open MPI)."
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
