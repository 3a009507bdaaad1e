"""Implements studies that many workers run: `egnas sweep` and `egnas worker`."""

import argparse
import collections
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from egnas_jax.cli.console import (
    DONE,
    FAILED,
    check_folders,
    say,
    use_compilation_cache,
)
from egnas_jax.cli.epoch_lines import retrain_line, search_line
from egnas_jax.cli.start_display import StartDisplay, waiting_for
from egnas_jax.runs.study import status
from egnas_jax.runs.study.plan import check_names, read_plan
from egnas_jax.runs.study.status import UnitStatus, epochs_done, unit_statuses
from egnas_jax.runs.study.study_file import Study, Unit, read_study
from egnas_jax.runs.study.work import BEAT, STALE, WorkerOptions
from egnas_jax.studies.tables import markdown_table

if TYPE_CHECKING:  # importing it imports JAX
    from egnas_jax.runs.search import StartMonitor


# kind of a unit -> its name, for one and for several
UNITS = {"search": ("search", "searches"), "retrain": ("retraining", "retrainings")}


def sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas sweep`."""
    add = parser.add_argument
    add("plan", metavar="PLAN.toml", help="the searches and retrainings of a study")
    add("--out", required=True, metavar="DIR", help="directory of the study")
    text = "add the units that the plan has beyond those of the study in --out"
    add("--extend", action="store_true", help=text)


def sweep(options: argparse.Namespace) -> None:
    """Writes the units of a plan for workers, and says how to start workers."""
    check_folders(options, ("out",))
    plan = read_plan(options.plan)
    if not plan.plugins:  # else they may add the names, and are loaded with JAX
        check_names(plan)
    with waiting_for("Loading JAX", quiet=False):
        from egnas_jax.runs.study.write import write_study
    study = write_study(options.plan, options.out, extend=options.extend)
    kinds = collections.Counter(unit.kind for unit in study.units)
    parts = ", ".join(_counted(count, *UNITS[kind]) for kind, count in kinds.items())
    units = _counted(len(study.units), "unit", "units")
    print(f"{study.folder} holds {units}: {parts}.")
    print(f"Run them by any number of workers: egnas worker {options.out}")


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas worker`."""
    add = parser.add_argument
    add("study", metavar="DIR", help="directory that egnas sweep wrote")
    add("--status", action="store_true", help="print the state of all units and exit")
    text = "how often a unit may fail, of all workers together (%(default)s)"
    add("--tries", type=int, default=1, metavar="N", help=text)
    text = "end after N units (no limit)"
    add("--units", type=int, metavar="N", help=text)
    text = "end after so long without a unit (when all units have ended)"
    add("--idle", type=float, metavar="SECONDS", help=text)
    text = "between two heartbeats, and two looks for work (%(default)s)"
    add("--beat", type=float, default=BEAT, metavar="SECONDS", help=text)
    text = "without a heartbeat, a worker counts as lost (%(default)s)"
    add("--stale", type=float, default=STALE, metavar="SECONDS", help=text)
    add("--data-dir", help="the only place to look for data sets (the plan's)")
    add("--json", action="store_true", help="print one JSON object and nothing else")


def worker(options: argparse.Namespace) -> int:
    """Runs units of a study, or prints their state; returns the exit code."""
    check_folders(options, ("data_dir",))
    names = ("tries", "units", "idle", "beat", "stale")
    numbers = {name: getattr(options, name) for name in names}
    WorkerOptions(**numbers).check()
    study = read_study(pathlib.Path(options.study))
    statuses = unit_statuses(study, options.tries)
    if options.status:
        _show(options, study, statuses)
        return DONE
    if any(each.state not in status.ENDED for each in statuses):
        statuses = _work(options, numbers)
        study = read_study(study.folder)
    _show(options, study, statuses)
    failed = any(each.state in (status.FAILED, status.BLOCKED) for each in statuses)
    return FAILED if failed else DONE


def _work(options, numbers: dict) -> list[UnitStatus]:
    with waiting_for("Loading JAX", quiet=options.json):
        from egnas_jax.runs.study.worker import run_worker

    def on_epoch(unit: Unit, record: dict) -> None:
        if not options.json:
            line = search_line if not unit.needs else retrain_line
            say(f"{unit.run}: {line(record, unit.epochs)}")

    def monitor(folder: pathlib.Path) -> "StartMonitor":
        return StartDisplay(quiet=options.json, folder=folder)

    use_compilation_cache()
    return run_worker(
        options.study,
        data_dir=options.data_dir,
        on_epoch=on_epoch,
        log=say,
        monitor=monitor,
        **numbers,
    )


COLUMNS = ("unit", "state", "epochs", "failures", "worker", "message")


def _show(options, study: Study, statuses: Sequence[UnitStatus]) -> None:
    """Prints the state of a study, as a table or as JSON."""
    counts = collections.Counter(each.state for each in statuses)
    units = [_as_json(study, each) for each in statuses]
    if options.json:
        states = {state: counts[state] for state in status.STATES}
        print(json.dumps({"study": str(study.folder), **states, "units": units}))
        return
    shown = units
    if not options.status:  # at the end of a worker, what needs a person
        shown = [u for u in units if u["state"] in (status.FAILED, status.BLOCKED)]
    if shown:
        print(markdown_table(COLUMNS, [_row(unit) for unit in shown]))
    parts = [f"{counts[state]} {state}" for state in status.STATES if counts[state]]
    print(f"{len(units)} units: {', '.join(parts)}.")


def _as_json(study: Study, each: UnitStatus) -> dict:
    return {
        "unit": each.unit.run,
        "kind": each.unit.kind,
        "state": each.state,
        "epochs_done": epochs_done(study, each.unit),
        "epochs": each.unit.epochs,
        "failures": each.failures,
        "worker": each.process,
        "message": each.message,
    }


def _row(unit: dict) -> list[object]:
    """A row of the table; a message has one line there."""
    lines = unit["message"].splitlines() or [""]
    epochs = f"{unit['epochs_done']}/{unit['epochs']}"
    failures, process = unit["failures"] or "", unit["worker"]
    return [unit["unit"], unit["state"], epochs, failures, process, lines[0]]
