"""Writes the metrics of a run for TensorBoard, in addition to metrics.jsonl.

No other module imports tensorboardX, which needs no tensorflow, and this one does so
only for runs that ask for it.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping


def check_installed() -> None:
    """Raises ValueError if tensorboardX is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise ValueError(
            "tensorboard is true, but tensorboardX is not installed. Install it by "
            "`pip install egnas-jax[tensorboard]`, or leave tensorboard out: "
            "metrics.jsonl holds the same metrics."
        ) from None


@contextlib.contextmanager
def writer(folder: pathlib.Path, first_epoch: int) -> Iterator:
    """Gives a function that writes the numbers of an epoch's record.

    Args:
      folder: of the event files; made where it is missing.
      first_epoch: of this process. What an earlier one wrote of it and later epochs is
        hidden, since they are run again.
    """
    from tensorboardX import SummaryWriter

    def write(record: Mapping) -> None:
        for name, value in record.items():
            if isinstance(value, (int, float)) and name != "epoch":
                scalars.add_scalar(name, value, record["epoch"])
        scalars.flush()

    scalars = SummaryWriter(str(folder), purge_step=first_epoch)
    try:
        yield write
    finally:
        scalars.close()
