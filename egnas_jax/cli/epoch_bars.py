"""Shows the progress of a run's epochs: bars on a terminal, lines everywhere."""

import contextlib
import statistics
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from egnas_jax.cli.console import say


class EpochBars:
    """Prints a line for each epoch, below which a terminal shows two bars.

    One bar is of the running epoch, the other of the whole run, with the time that is
    left. A stream that is no terminal gets the lines alone, each with that time.

    Args:
      epochs: of the whole run.
      line: (record, epochs) -> the line of an epoch.
      quiet: show nothing.
    """

    def __init__(
        self,
        epochs: int,
        line: Callable[[dict, int], str],
        *,
        quiet: bool = False,
    ):
        self.epochs = epochs
        self.line = line
        self.quiet = quiet
        self.pace = Pace(epochs)
        self.progress = _two_bars(Console(stderr=True, highlight=False))
        self.tasks: tuple[TaskID, TaskID] | None = None  # running epoch, all epochs

    def __enter__(self) -> "EpochBars":
        return self

    def __exit__(self, *error: object) -> None:
        if self.tasks is not None:
            self.progress.stop()

    def on_steps(self, done: int, total: int) -> None:
        """Shows how many of an epoch's weight steps are done."""
        if not self._is_shown():
            return
        epoch_task, _ = self._started()
        self.progress.update(epoch_task, completed=done, total=total, text="this epoch")

    def on_epoch(self, record: dict, *, is_newest: bool = True) -> None:
        """Prints the record of an epoch, and says how much time is left.

        Args:
          record: of the epoch.
          is_newest: False where later epochs are done, too; then no time is printed.
        """
        self.pace.add(record)
        left = self.pace.left(record["epoch"])
        if self.quiet:
            return
        line = self.line(record, self.epochs)
        if not is_newest:
            say(line)
            return
        if not self._is_shown():
            say(f"{line}, {left}")
            return
        epoch_task, run_task = self._started()
        say(line)  # the bars move down
        self.progress.update(epoch_task, completed=0, text="")
        text = f"{record['epoch'] + 1} of {self.epochs} epochs, {left}"
        self.progress.update(run_task, completed=record["epoch"] + 1, text=text)

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Context in which the bars are hidden."""
        if self.tasks is None:
            yield
            return
        self.progress.stop()
        yield
        self.progress.start()

    def _is_shown(self) -> bool:
        return self.progress.console.is_terminal and not self.quiet

    def _started(self) -> tuple[TaskID, TaskID]:
        if self.tasks is None:
            self.progress.start()
            self.tasks = (
                self.progress.add_task("", total=None, text=""),
                self.progress.add_task("", total=self.epochs, text=""),
            )
        return self.tasks


class Pace:
    """How long the epochs of a run take.

    Args:
      epochs: of the whole run.
    """

    def __init__(self, epochs: int):
        self.epochs = epochs
        self.seconds: list[float] = []

    def add(self, record: dict) -> None:
        """Notes the record of an epoch."""
        self.seconds.append(record["seconds"])

    def left(self, epoch: int) -> str:
        """Says how long the epochs after one will take, from the last three."""
        # The first epoch of a process may compile, so it only bounds the others. Epochs
        # that are evaluated together share their time.
        later = [value for value in self.seconds if value != self.seconds[0]]
        seconds = statistics.median(later[-3:] or self.seconds)
        bound = "about" if later else "at most"
        return f"{bound} {_as_time(seconds * (self.epochs - epoch - 1))} left"


def _as_time(seconds: float) -> str:
    """Seconds in words: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _two_bars(console: Console) -> Progress:
    return Progress(
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        transient=True,
        redirect_stdout=False,  # which may be a file
    )
