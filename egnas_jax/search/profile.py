"""Traces of a search for `jax.profiler`'s viewers: steady calls of each program."""

import pathlib
from collections.abc import Callable

import jax

from egnas_jax.search.step import Programs

CALLS = 2  # of each program


def first_steady_epoch(done: int, warmup: int, last: int) -> int:
    """The epoch whose calls are traced: compiled before, and after the warm-up.

    Args:
      done: epochs before this process; its first one compiles.
      warmup: epochs in which a strategy's update does nothing.
      last: epochs when it ends.

    Raises:
      ValueError: it ends before.
    """
    epoch = max(done + 1, warmup)
    if epoch >= last:
        raise ValueError(
            f"--profile traces epoch {epoch + 1}, the first that neither compiles nor "
            f"belongs to the warm-up, but the run ends after {last}. Let it run longer "
            f"(epochs, --stop-after), or lower strategy.warmup."
        )
    return epoch


def profiled(programs: Programs, folder: pathlib.Path, epoch: int) -> Programs:
    """The programs, of which each traces its first calls from an epoch on.

    Args:
      programs: of a search.
      folder: gets a folder for each program, as TensorBoard and XProf read them.
      epoch: from 0.
    """
    traced = {
        name: _traced(getattr(programs, name), folder / name, epoch)
        for name in ("train", "validate", "evolve")
    }
    return programs._replace(**traced)


def _traced(program: Callable, folder: pathlib.Path, epoch: int) -> Callable:
    numbers = iter(range(CALLS))

    def run(state, *arguments):
        if int(state.epoch) < epoch or (number := next(numbers, None)) is None:
            return program(state, *arguments)
        with jax.profiler.trace(folder / str(number)):
            return jax.block_until_ready(program(state, *arguments))

    return run
