"""Reads the values of a plan's tables, with messages that say where a value stands."""

import difflib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Seeds = int | tuple[int, ...]  # a number of seeds, or the seeds themselves
TYPES = {str: "text", bool: "true or false", Mapping: "a table", list: "a list"}
VALUES = (bool, int, float, str)  # types of a setting


class PlanReader(NamedTuple):
    """Reads values of one plan. A `place` is what messages call a table.

    Attributes:
      source: what messages call the plan.
      folder: the folder from which relative paths start.
    """

    source: str
    folder: pathlib.Path

    def error(self, text: str) -> ValueError:
        """Returns the error that a sentence of the plan is wrong."""
        return ValueError(f"{self.source}: {text}")

    def check_keys(self, table: Any, kinds: Mapping[str, type], place: str) -> None:
        """Refuses what is no table, unknown keys, and values of another type.

        Args:
          table: what the plan holds.
          kinds: key -> type of its value, of `TYPES`, or `object` for any.
          place: of the table.

        Raises:
          ValueError: names the key, and close matches.
        """
        if not isinstance(table, Mapping):
            raise self.error(f"{place} is {table!r}, but must be a table.")
        for key, value in table.items():
            if key not in kinds:
                close = difflib.get_close_matches(str(key), kinds, n=3)
                hint = f" Did you mean {', '.join(close)}?" if close else ""
                raise self.error(
                    f"{place} has the unknown key {key!r}.{hint} Known: "
                    f"{', '.join(sorted(kinds))}."
                )
            if not isinstance(value, kinds[key]):
                raise self.error(
                    f"{place} has {key} = {value!r}, but it must be "
                    f"{TYPES[kinds[key]]}."
                )

    def settings(self, table: Mapping, place: str) -> dict[str, Any]:
        """Returns dotted path -> value; data.path becomes absolute.

        Raises:
          ValueError: a value is no setting, a path comes twice, or there is no such
            file.
        """
        settings = {}
        for path, value in self._flat(table, place):
            if not isinstance(value, VALUES):
                raise self.error(
                    f"{place} gives {path} = {value!r}, but a setting is a number, "
                    f'true or false, or a text ("none" for none).'
                )
            settings[path] = self._with_file(path, value)
        return settings

    def sweep(self, table: Mapping, place: str) -> dict[str, tuple[str, ...]]:
        """Returns dotted path -> texts of the values, as `--sweep` takes them.

        Those of data.path become absolute.

        Raises:
          ValueError: there are no values, one is no setting, or there is no such file;
            or a path comes twice.
        """
        sweep = {}
        for path, values in self._flat(table, place):
            is_list = isinstance(values, list | tuple) and values
            if not is_list or not all(isinstance(value, VALUES) for value in values):
                raise self.error(
                    f"{place} sweeps over {path} = {values!r}, but takes a list of at "
                    f"least one number or text: {path} = [V1, V2, ...]."
                )
            sweep[path] = tuple(str(self._with_file(path, each)) for each in values)
        return sweep

    def seeds(self, value: Any, place: str) -> Seeds:
        """Returns a number of seeds, or the seeds.

        Raises:
          ValueError: it is neither a number from 1 nor a list of different seeds.
        """
        if type(value) is int and value >= 1:
            return value
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            are_seeds = all(type(seed) is int and seed >= 0 for seed in value)
            if are_seeds and len(set(value)) == len(value):
                return tuple(value)
        raise self.error(
            f"{place} has seeds = {value!r}, but takes a number of seeds from 1, or a "
            f"list of different ones from 0: [0, 1, 2]."
        )

    def plugins(self, names: list) -> Iterator[str]:
        """Yields names of modules, and absolute paths of files.

        Raises:
          ValueError: an entry is no text, or empty.
        """
        for name in names:
            if not isinstance(name, str) or not name:
                raise self.error(
                    f"plugins has {name!r}, but lists files and names of modules."
                )
            yield self.path(name) if name.endswith(".py") or "/" in name else name

    def data_dir(self, name: str) -> str:
        """Returns the absolute path of the folder of the data.

        Raises:
          ValueError: the name is empty, or there is no such folder.
        """
        path = self.path(name)
        if not name or not pathlib.Path(path).is_dir():
            raise self.error(
                f"data_dir is {name!r}, which is no folder. Name the one that holds "
                f"the data, or leave data_dir out for the usual places."
            )
        return path

    def path(self, name: str) -> str:
        """Returns a path that starts from the folder of the plan."""
        return os.path.normpath(self.folder / pathlib.Path(name).expanduser())

    def _with_file(self, path: str, value: Any) -> Any:
        """A value of a setting; the name of a file becomes an absolute path."""
        is_file = path == "data.path" and str(value).lower() != "none"
        return self._file(str(value)) if is_file else value

    def _file(self, name: str) -> str:
        path = self.path(name)
        if not pathlib.Path(path).is_file():
            raise self.error(
                f"data.path names {path}, which is no file. Name an .npz that all "
                f"workers can read."
            )
        return path

    def _flat(self, table: Mapping, place: str) -> Iterator[tuple[str, Any]]:
        """Dotted paths and values; a path may be a key, or a table in a table."""
        seen = set()
        for path, value in _walk(table, ""):
            if path in seen:
                raise self.error(f"{place} has {path} twice. Leave one of them out.")
            seen.add(path)
            yield path, value


def _walk(table: Mapping, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
