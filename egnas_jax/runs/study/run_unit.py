"""Runs a unit of a study, as the search or the retraining that it is."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from egnas_jax.runs import retrain_config, search_config
from egnas_jax.runs.genotype_source import read_genotype
from egnas_jax.runs.retrain import run_retraining
from egnas_jax.runs.search import Silent, StartMonitor, run_search
from egnas_jax.runs.search_origin import search_seconds
from egnas_jax.runs.study.study_file import FILE, Study, Unit
from egnas_jax.runs.unknown_settings import check_known


class UnitOptions(NamedTuple):
    """What is the same for all units that a worker runs.

    Attributes:
      data_dir: the only place to look for data sets; None: that of the plan.
      on_epoch: called with the unit and the record of an epoch.
      log: called with notes.
      monitor: run directory of a search -> its `StartMonitor`.
    """

    data_dir: str | None
    on_epoch: Callable[[Unit, dict], Any]
    log: Callable[[str], Any]
    monitor: Callable[[pathlib.Path], StartMonitor] = lambda folder: Silent()


def run_unit(study: Study, unit: Unit, options: UnitOptions) -> None:
    """Begins a run, or goes on with it, up to its end.

    Args:
      study: has the unit.
      unit: the unit, whose needs are done.
      options: of the worker.

    Raises:
      ValueError: the unit cannot be run: its data are missing, for example.
      RuntimeError: the run failed.
      FloatingPointError: a loss is NaN or infinite.
      Interrupted: SIGINT or SIGTERM arrived, and a checkpoint was written.
    """
    check_known(unit.config, study.folder / FILE)
    folder = study.run_folder(unit)
    common = dict(
        out=folder,
        data_dir=options.data_dir or unit.data_dir,
        resume=(folder / "config.json").exists(),
        on_epoch=lambda record: options.on_epoch(unit, record),
        log=lambda text: options.log(f"{unit.run}: {text}"),
    )
    if not unit.needs:
        config = search_config.from_dict(unit.config)
        run_search(config, monitor=options.monitor(folder), **common)
        return
    origin = study.folder / unit.needs[0]
    genotype = read_genotype(origin, log=options.log).format()
    config = retrain_config.from_dict({**unit.config, "genotype": genotype})
    run_retraining(origin, config, search_seconds=search_seconds(origin), **common)
