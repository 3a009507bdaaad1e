"""Writes the metrics of a run to MLflow.

Where they go is MLflow's own choice: MLFLOW_TRACKING_URI names a server, a database or
a folder, and MLFLOW_EXPERIMENT_NAME an experiment ("egnas_jax" without it).
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from egnas_jax.storage.trackers.base import TrackedRun, numbers_of

if TYPE_CHECKING:  # an extra
    from mlflow import MlflowClient

LONGEST = 500  # characters of a setting, which every version of MLflow takes


@contextlib.contextmanager
def writer(run: TrackedRun) -> Iterator[Callable[[Mapping], None]]:
    """Context that gives a function which writes an epoch's record.

    A run that is resumed goes on with the same run of MLflow. An epoch that is run
    again is written again, and MLflow shows the newer value.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient()
    identity = _known_run(client, run) or _new_run(client, run)

    def write(record: Mapping) -> None:
        now = int(1000 * time.time())
        metrics = [
            Metric(name, float(value), now, record["epoch"])
            for name, value in numbers_of(record).items()
        ]
        client.log_batch(identity, metrics=metrics)

    status = "KILLED"
    try:
        yield write
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        client.set_terminated(identity, status)


def _known_run(client: "MlflowClient", run: TrackedRun) -> str | None:
    """The id of the run that an earlier process began, if the store still has it."""
    from mlflow.exceptions import MlflowException

    identity = run.stored_id("mlflow")
    if identity is None:
        return None
    try:
        client.update_run(identity, status="RUNNING")
    except MlflowException:
        return None
    return identity


def _new_run(client: "MlflowClient", run: TrackedRun) -> str:
    """Begins a run with the settings as its parameters; returns its id."""
    from mlflow.entities import Param

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "egnas_jax")
    experiment = client.get_experiment_by_name(name)
    known = experiment and experiment.experiment_id
    identity = client.create_run(
        known or client.create_experiment(name), run_name=run.name
    ).info.run_id
    params = [Param(path, str(value)[:LONGEST]) for path, value in run.settings.items()]
    client.log_batch(identity, params=params)
    run.store_id("mlflow", identity)
    return identity
