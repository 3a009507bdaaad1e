"""Lets this process be a worker of a study."""

import functools
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

from egnas_jax.data.config import DataConfig
from egnas_jax.data.source import check_found
from egnas_jax.runs.plugin_records import load_recorded, needing
from egnas_jax.runs.study.run_unit import UnitOptions, run_unit
from egnas_jax.runs.study.status import UnitStatus
from egnas_jax.runs.study.study_file import Study, Unit, read_study
from egnas_jax.runs.study.work import BEAT, STALE, WorkerOptions, run_units


def run_worker(
    folder: str | os.PathLike,
    *,
    tries: int = 1,
    units: int | None = None,
    idle: float | None = None,
    beat: float = BEAT,
    stale: float = STALE,
    data_dir: str | os.PathLike | None = None,
    on_epoch: Callable[[Unit, dict], Any] | None = None,
    log: Callable[[str], Any] | None = None,
    monitor: Callable[[pathlib.Path], Any] | None = None,
) -> list[UnitStatus]:
    """Runs the units of a study, beside other workers on any hosts.

    Args:
      folder: of the study, see `write_study`; all workers see the same files there.
      tries: how often a unit may fail, of all workers together.
      units: end after so many units; None: no limit.
      idle: end after so many seconds without a unit; None: wait until all units are
        done, failed or blocked.
      beat: seconds between two heartbeats, and between two looks for work.
      stale: seconds without a heartbeat after which a worker counts as lost.
      data_dir: the only place to look for data sets; None: that of the plan.
      on_epoch: called with the unit and the record of each epoch.
      log: called with notes; None: the logger "egnas_jax" gets them as warnings.
      monitor: run directory of a search -> its `StartMonitor`.

    Returns:
      The state of all units.

    Raises:
      ValueError: there is no study, this machine lacks its data, a plug-in of it is
        missing or has changed, or an argument is out of range, and nothing was
        claimed; or the directory of the study cannot be written.
      RuntimeError: a disk is full, read-only or broken; any worker goes on with the
        unit.
      KeyboardInterrupt: SIGINT or SIGTERM arrived; the unit was given back, after a
        checkpoint if an epoch had begun.
    """
    study = read_study(pathlib.Path(folder))
    options = WorkerOptions(
        tries=tries, units=units, idle=idle, beat=beat, stale=stale
    ).check()
    data_dir = None if data_dir is None else os.fspath(data_dir)
    _check_data(study, data_dir)
    log = log or logging.getLogger("egnas_jax").warning
    unit_options = UnitOptions(
        data_dir=data_dir,
        on_epoch=on_epoch or (lambda unit, record: None),
        log=log,
    )
    if monitor is not None:
        unit_options = unit_options._replace(monitor=monitor)
    run = functools.partial(run_unit, options=unit_options)
    with needing(load_recorded(study.folder)):
        return run_units(study, run, options, log)


def _check_data(study: Study, data_dir: str | None) -> None:
    """Refuses a machine that lacks data, on which every unit would fail.

    Raises:
      ValueError: a folder or an .npz that units name is not there, or the folder
        lacks CIFAR.
    """
    wanted = {
        (unit.config["data"]["name"], unit.config["data"]["path"], unit.data_dir)
        for unit in study.units
    }
    for name, path, folder in wanted:
        check_found(DataConfig(name=name, path=path), data_dir or folder)
