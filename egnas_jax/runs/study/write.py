"""Writes a study: the units of a plan into a directory, for workers to run."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from egnas_jax.data.files.prepared import existing_directory
from egnas_jax.runs.plugin_records import write_plugins
from egnas_jax.runs.plugins import Plugin, load_plugin
from egnas_jax.runs.study.plan import check_names, read_plan
from egnas_jax.runs.study.study_file import FILE, Study, Unit, read_study, write_units
from egnas_jax.runs.study.units import plan_units
from egnas_jax.settings import flat
from egnas_jax.storage import records

PLAN = "plan.toml"  # a copy, for people


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
    if content.data_dir is not None:
        existing_directory(content.data_dir)
    units, folder = plan_units(content), pathlib.Path(out)
    if (folder / FILE).exists():
        units, is_new = _extended(read_study(folder), units, extend=extend)
    else:
        _check_empty(folder)
        is_new = True
    if is_new:
        _write(folder, units, plugins, content.text)
    return read_study(folder)


def _check_empty(folder: pathlib.Path) -> None:
    """Refuses a directory that holds anything but a study."""
    is_empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_empty:
        raise ValueError(
            f"{folder} is not empty and holds no study. Name another --out."
        )


def _extended(
    study: Study, units: Sequence[Unit], *, extend: bool
) -> tuple[list[Unit], bool]:
    """The units of a study and those that a plan adds, and whether it adds any.

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
    return [*study.units, *planned.values()], bool(planned)


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
        folder.mkdir(parents=True, exist_ok=True)
        for unit in units:
            write_plugins(folder, unit.config, plugins)
        if text is not None:
            records.write_text(folder / PLAN, text)
        write_units(folder, units)
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be written ({error.strerror or error}). Name another "
            f"--out."
        ) from None
