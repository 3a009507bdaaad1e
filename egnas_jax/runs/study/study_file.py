"""Reads and writes study.json, which lists the units of a study."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from egnas_jax.storage import records

FILE, EVENTS = "study.json", "units"
VERSION = 1


class Unit(NamedTuple):
    """A run of a study.

    Attributes:
      run: its directory below that of the study, with slashes.
      kind: "search" or "retrain".
      needs: units that must be done before; of a retraining its search.
      config: the configuration, as config.json holds one; a retraining's has no
        genotype yet.
      data_dir: the only place to look for its data set, or None.
    """

    run: str
    kind: str
    needs: tuple[str, ...]
    config: dict[str, Any]
    data_dir: str | None

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return self.config["epochs"]


class Study(NamedTuple):
    """The units of a study, in the order in which workers take them.

    Attributes:
      folder: of the study.
      units: the runs; each stands behind those that it needs.
    """

    folder: pathlib.Path
    units: tuple[Unit, ...]

    def run_folder(self, unit: Unit) -> pathlib.Path:
        """The run directory of a unit."""
        return self.folder / unit.run

    def events_folder(self, index: int) -> pathlib.Path:
        """The folder with the events of a unit (`storage.claims`)."""
        return self.folder / EVENTS / f"{index + 1:05d}"


def write_units(folder: pathlib.Path, units: Sequence[Unit]) -> None:
    """Writes study.json atomically; the folder exists."""
    stored = [unit._asdict() for unit in units]
    records.write_json(folder / FILE, {"version": VERSION, "units": stored})


def read_study(folder: pathlib.Path) -> Study:
    """Reads the units of a study.

    Raises:
      ValueError: the directory holds no study, or one of a later version, or study.json
        was altered.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(
            f"{str(folder)!r} holds no study: there is no {FILE}. Name the directory "
            f"that `egnas sweep PLAN.toml --out DIR` wrote."
        )
    content = records.read_object(path, "The file was altered; restore it.")
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} has the version {content.get('version')!r}, and this version of "
            f"egnas_jax reads {VERSION}. Use the one that wrote it."
        )
    try:
        units = tuple(_unit(stored) for stored in content["units"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path} does not list units as `egnas sweep` writes them. The file was "
            f"altered; restore it."
        ) from None
    return Study(folder, units)


def _unit(stored: dict[str, Any]) -> Unit:
    unit = Unit(**{**stored, "needs": tuple(stored["needs"])})
    int(unit.epochs)
    return unit
