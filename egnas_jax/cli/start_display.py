"""Shows what a search does before its first epoch.

Programs compile for a minute or more. One line shows their progress until the first
epoch begins. What the libraries print meanwhile, such as XLA's alarms, goes into a
file.
"""

import contextlib
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from egnas_jax.cli.changing_line import changing_line

if TYPE_CHECKING:  # importing them imports JAX
    from egnas_jax.runs.search_setup import SearchSetup
    from egnas_jax.training.program_cache import CompilePlan, OnStage

LOG = "startup.log"


@contextlib.contextmanager
def waiting_for(what: str, *, quiet: bool) -> Iterator[None]:
    """Context in which a line says what is waited for, and since when."""
    if quiet:
        yield
        return
    started = time.monotonic()

    def text() -> str:
        return f"{what}: {time.monotonic() - started:.0f} s"

    with changing_line(text, sys.stderr):
        yield


class StartDisplay:
    """A `StartMonitor` that writes to stderr, and a context that ends its lines.

    Args:
      quiet: write nothing.
      folder: run directory, which gets `LOG`; None: what libraries print stays where
        it is.
      pause: gives a context in which nothing else is shown, since the programs of a
        later stage compile between two epochs.
    """

    def __init__(
        self,
        *,
        quiet: bool,
        folder: pathlib.Path | None,
        pause: Callable[[], AbstractContextManager] = contextlib.nullcontext,
    ):
        self.quiet = quiet
        self.folder = folder
        self.pause = pause
        self.open_lines = contextlib.ExitStack()

    def __enter__(self) -> "StartDisplay":
        line = waiting_for("Loading the data", quiet=self.quiet)
        self.open_lines.enter_context(line)
        return self

    def __exit__(self, *error: object) -> None:
        self.open_lines.close()

    def data_loaded(self, setup: "SearchSetup") -> None:
        """Says what is searched on."""
        self.open_lines.close()
        if not self.quiet:
            print(describe(setup), file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def compiling(self, plan: "CompilePlan") -> Iterator["OnStage"]:
        """Shows the progress of the compilation."""
        progress = CompileProgress(plan)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.pause())
            if self.folder is not None:
                stack.enter_context(stderr_in_file(self.folder / LOG))
            if not self.quiet:
                stack.enter_context(changing_line(progress.text, sys.stderr))
            yield progress.report
        if not self.quiet:
            print(progress.summary(), file=sys.stderr, flush=True)


def describe(setup: "SearchSetup") -> str:
    """What is searched on, as a line; and a line for each stage of the search."""
    from egnas_jax.runs.stages import describe_plan
    from egnas_jax.strategies.labels import label_of

    run, config = setup.run, setup.config
    size = "x".join(str(side) for side in run.image_shape)
    line = (
        f"{setup.dataset.name}: {run.num_train} training and {run.num_valid} "
        f"validation images of {size}, {config.supernet.num_classes} classes; "
        f"{config.epochs} epochs of {run.num_steps} steps with "
        f"{label_of(config.strategy_name, config.supernet.space)}."
    )
    return "\n".join(filter(None, (line, describe_plan(config))))


class CompileProgress:
    """The progress of the compilation, in words."""

    def __init__(self, plan: "CompilePlan"):
        self.plan = plan
        self.stages = dict.fromkeys(plan.names, "waiting")
        self.since = dict.fromkeys(plan.names, time.monotonic())
        self.started = time.monotonic()

    def report(self, name: str, stage: str) -> None:
        """Notes that a program has reached a stage."""
        self.stages[name] = stage
        self.since[name] = time.monotonic()

    def text(self) -> str:
        """The state as a line: the time, and what each program does.

        The time comes first, since a narrow terminal cuts the line.
        """
        now = time.monotonic()
        parts = ", ".join(self._state_of(name, now) for name in self.plan.names)
        return f"{self._what()}, {self._times(now)}: {parts}"

    def summary(self) -> str:
        """What was done, as a line."""
        seconds = time.monotonic() - self.started
        return f"{self._what()}: done in {seconds:.0f} s."

    def _state_of(self, name: str, now: float) -> str:
        stage = self.stages[name]
        if stage in ("waiting", "ready"):
            return f"{name} {stage}"
        return f"{name} {stage} {now - self.since[name]:.0f} s"

    def _what(self) -> str:
        number, cached = len(self.plan.names), len(self.plan.cached)
        programs = f"{number} program{'s' if number > 1 else ''}"
        if cached == number:
            return f"Reading {programs} from the cache"
        if cached:
            return f"Compiling {number - cached} of {programs}, {cached} from the cache"
        return f"Compiling {programs}"

    def _times(self, now: float) -> str:
        spent = f"{now - self.started:.0f} s"
        if self.plan.seconds is None:
            return f"{spent} so far"
        return f"{spent} of about {self.plan.seconds:.0f}"


@contextlib.contextmanager
def stderr_in_file(path: pathlib.Path) -> Iterator[None]:
    """Context in which what C++ libraries write to stderr goes into a file.

    Python's own `sys.stderr` writes where it wrote before. The file is removed if it
    stays empty. Nothing changes where the file cannot be written.

    Args:
      path: of the file, which is appended to.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("ab"))
            terminal = os.dup(2)
        except OSError:
            yield
            return
        stack.callback(os.close, terminal)
        stack.enter_context(_stderr_of_python(terminal))
        os.dup2(file.fileno(), 2)
        stack.callback(os.dup2, terminal, 2)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if path.stat().st_size == 0:
                    path.unlink()


@contextlib.contextmanager
def _stderr_of_python(descriptor: int) -> Iterator[None]:
    """Context in which `sys.stderr` writes to a descriptor, if it wrote to number 2."""
    try:
        is_number_2 = sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # a notebook's has none
        is_number_2 = False
    if not is_number_2:
        yield
        return
    before = sys.stderr
    before.flush()
    with open(
        descriptor, "w", encoding=before.encoding, errors="replace", closefd=False
    ) as stream:
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = before
