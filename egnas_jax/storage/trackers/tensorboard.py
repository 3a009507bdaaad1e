"""Writes the metrics of a run for TensorBoard, by tensorboardX (no tensorflow)."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from egnas_jax.storage.trackers.base import TrackedRun, numbers_of


@contextlib.contextmanager
def writer(run: TrackedRun) -> Iterator[Callable[[Mapping], None]]:
    """Context that gives a function which writes an epoch's record.

    The event files lie in the folder tensorboard/ of the run. What an earlier process
    wrote of epochs that are run again is hidden.
    """
    from tensorboardX import SummaryWriter

    def write(record: Mapping) -> None:
        for name, value in numbers_of(record).items():
            scalars.add_scalar(name, value, record["epoch"])
        scalars.flush()

    folder = str(run.folder / "tensorboard")
    scalars = SummaryWriter(folder, purge_step=run.first_epoch)
    try:
        yield write
    finally:
        scalars.close()
