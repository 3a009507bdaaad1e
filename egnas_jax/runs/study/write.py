"""Writes a study: the units of a plan into a directory, for workers to run."""

import contextlib
import logging
import os
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from egnas_jax.runs.plugin_records import FILE as PLUGINS
from egnas_jax.runs.plugin_records import write_plugins
from egnas_jax.runs.plugins import Plugin, load_plugin
from egnas_jax.runs.study.plan import check_names, read_plan
from egnas_jax.runs.study.study_file import FILE, Study, Unit, read_study, write_units
from egnas_jax.runs.study.units import plan_units
from egnas_jax.settings import flat
from egnas_jax.storage import records
from egnas_jax.storage.lock import DirectoryTakenError, locked

PLAN = "plan.toml"  # a copy, for people
PATIENCE = 60.0  # seconds to wait for another process that writes the units


def write_study(
    plan: str | os.PathLike | Mapping[str, Any],
    out: str | os.PathLike,
    *,
    extend: bool = False,
) -> Study:
    """Writes the runs of a plan as units, which `run_worker` runs.

    A directory that holds the same study stays as it is.

    Args:
      plan: path of a TOML file, or a dictionary with its keys (docs/clusters.md).
      out: directory of the study.
      extend: add the units of a plan that has all units of the study in `out`, and
        more.

    Returns:
      The study, with all of its units.

    Raises:
      ValueError: the plan or the directory cannot be used, or the directory holds the
        study of another plan; nothing was written.
    """
    content = read_plan(plan)
    plugins = [load_plugin(name) for name in content.plugins]
    check_names(content)
    units, folder = plan_units(content), pathlib.Path(out)

    def left_to_write() -> list[Unit] | None:
        if (folder / FILE).exists():
            return _extended(read_study(folder), units, extend=extend)
        _check_free(folder, content.text)
        return units

    if left_to_write() is not None:
        with _alone(folder):  # another process may have written since
            if (all_units := left_to_write()) is not None:
                _write(folder, all_units, plugins, content.text)
    return read_study(folder)


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Context in which no other process writes units into a directory, which is made.

    The machines of a cluster may all begin with `egnas sweep`. So each waits for its
    turn.

    Raises:
      ValueError: the directory cannot be written, or another process is still writing
        after `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    log = logging.getLogger("egnas_jax").warning
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    stack.enter_context(locked(folder, log))
                    break
                except DirectoryTakenError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
        except OSError as error:
            raise records.unwritable(folder, error) from None
        yield


def _check_free(folder: pathlib.Path, text: str | None) -> None:
    """Refuses a directory that holds more than an interrupted `sweep` may leave.

    Such a `sweep` leaves the same plan, its plug-ins and hidden files. The directory
    may also hold the units, which another process may have written since the last look.
    """
    if not folder.exists():
        return
    for path in list(folder.iterdir()) if folder.is_dir() else [folder]:
        is_plan = path.name == PLAN and path.is_file()
        is_plan = is_plan and path.read_bytes() == (text or "").encode()
        is_left = path.name in (PLUGINS, FILE) or path.name.startswith(".")
        if not (is_plan or is_left or (folder / FILE).exists()):
            raise ValueError(
                f"{folder} is not empty and holds no study. Name another --out."
            )


def _extended(
    study: Study, units: Sequence[Unit], *, extend: bool
) -> list[Unit] | None:
    """The units of a study and those that a plan adds; None where it adds none.

    Raises:
      ValueError: the plan changes or leaves out a unit, or adds some without `extend`.
    """
    planned = {unit.run: unit for unit in units}
    for unit in study.units:
        if difference := _difference(unit, planned.pop(unit.run, None)):
            raise ValueError(
                f"{study.folder} holds the study of another plan: {difference}. Use "
                f"that plan ({study.folder / PLAN}) or another --out."
            )
    if planned and not extend:
        raise ValueError(
            f"{study.folder} holds a study to which this plan adds {len(planned)} "
            f"units, {next(iter(planned))} first, and changes none. Add them by "
            f"--extend, or name another --out."
        )
    return [*study.units, *planned.values()] if planned else None


def _difference(old: Unit, new: Unit | None) -> str:
    """How a plan changes a unit, "" where it does not."""
    if new is None:
        return f"{old.run} is not in this one"
    before = dict(flat(old._asdict()))
    after = dict(flat(new._asdict()))
    for path in sorted(before | after):
        if before.get(path) != after.get(path):
            name = path.removeprefix("config.")
            change = f"{before.get(path)!r} -> {after.get(path)!r}"
            return f"{old.run} has {name}: {change}"
    return ""


def _write(
    folder: pathlib.Path,
    units: Sequence[Unit],
    plugins: Sequence[Plugin],
    text: str | None,
) -> None:
    """Writes study.json last, so that no worker finds a study without its plug-ins.

    Raises:
      ValueError: the directory cannot be written.
    """
    try:
        for unit in units:
            write_plugins(folder, unit.config, plugins)
        if text is not None:
            records.write_text(folder / PLAN, text)
        write_units(folder, units)
    except OSError as error:
        raise records.unwritable(folder, error) from None
