"""Traces steady calls of a search's programs for the viewers of `jax.profiler`."""

import functools
import pathlib
from collections.abc import Callable

import jax

from egnas_jax.search.programs import SearchPrograms
from egnas_jax.search.state import SearchHyperparams, SearchState

CALLS = 2  # of each program


def first_steady_epoch(done: int, warmup: int, last: int) -> int:
    """Returns the epoch whose calls are traced, after compilation and warm-up.

    Args:
      done: epochs before this process; its first one compiles.
      warmup: epochs in which a strategy's update does nothing.
      last: epochs that are done when the run ends.

    Raises:
      ValueError: the run ends before that epoch.
    """
    epoch = max(done + 1, warmup)
    if epoch >= last:
        raise ValueError(
            f"--profile traces epoch {epoch + 1}, the first that neither compiles nor "
            f"belongs to the warm-up, but the run ends after {last}. Let it run longer "
            f"(epochs, --stop-after), or lower strategy.warmup."
        )
    return epoch


def profiled(
    programs: SearchPrograms, folder: pathlib.Path, epoch: int
) -> SearchPrograms:
    """Wraps the programs, so that each traces its first calls from an epoch on.

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

    def run(hyperparams: SearchHyperparams, state: SearchState, *arguments):
        call = functools.partial(program, hyperparams, state, *arguments)
        if int(state.epoch) < epoch or (number := next(numbers, None)) is None:
            return call()
        with jax.profiler.trace(folder / str(number)):
            return jax.block_until_ready(call())

    return run
