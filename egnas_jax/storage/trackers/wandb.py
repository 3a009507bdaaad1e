"""Writes the metrics of a run to Weights & Biases.

Its own variables say where: WANDB_PROJECT ("egnas_jax" without it), WANDB_ENTITY, and
WANDB_MODE=offline to send nothing.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping

from egnas_jax.storage.trackers.base import TrackedRun, numbers_of


@contextlib.contextmanager
def writer(run: TrackedRun) -> Iterator[Callable[[Mapping], None]]:
    """Context that gives a function which writes an epoch's record.

    The files of Weights & Biases lie in the folder wandb/ of the run. A run that is
    resumed goes on with the same run there. Curves are drawn over the epochs, so an
    epoch that is run again has two points.
    """
    import wandb

    tracked = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "egnas_jax"),
        name=run.name,
        id=run.stored_id("wandb"),
        resume="allow",
        dir=str(run.folder),
        config=dict(run.settings),
        reinit="create_new",  # several runs of a batch go on side by side
    )
    run.store_id("wandb", tracked.id)
    tracked.define_metric("*", step_metric="epoch")
    exit_code = 1
    try:
        yield lambda record: tracked.log(
            {**numbers_of(record), "epoch": record["epoch"]}
        )
        exit_code = 0
    finally:
        tracked.finish(exit_code=exit_code)
