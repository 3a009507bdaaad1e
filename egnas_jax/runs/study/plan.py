"""Reads the plan of a study: its searches, and the retrainings of what they find.

A plan is a TOML file, or a dictionary with the same keys; docs/clusters.md shows one.
Values of settings are checked where configurations are made (`runs.study.units`). The
module does not import JAX.
"""

import difflib
import os
import pathlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from egnas_jax.lookup import check_known
from egnas_jax.runs.presets import PRESETS, RECIPES
from egnas_jax.space import SPACES
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.egnas.variants import VARIANTS

Seeds = int | tuple[int, ...]  # a number of seeds, or the seeds themselves
NAME = re.compile(r"\w[\w.=,+-]*")


class SearchPlan(NamedTuple):
    """One table [search].

    Attributes:
      name: of its directory below search/; "" is that directory itself.
      preset, strategy, variant, space: as of `search_config`.
      seeds: how many, from that of the configuration on; or which.
      settings: dotted path -> value.
      sweep: dotted path -> texts of its values, as `--sweep` takes them.
    """

    name: str
    preset: str
    strategy: str
    variant: str | None
    space: str | None
    seeds: Seeds
    settings: Mapping[str, Any]
    sweep: Mapping[str, tuple[str, ...]]


class RetrainPlan(NamedTuple):
    """The table [retrain], which concerns what each search finds.

    Attributes:
      preset, settings, auxiliary: as of `retrain_config`.
      seeds: how many, from that of the configuration on; or which.
    """

    preset: str
    seeds: Seeds
    settings: Mapping[str, Any]
    auxiliary: bool


class StudyPlan(NamedTuple):
    """A plan.

    Attributes:
      searches: each table [search].
      retrain: the table [retrain], or None.
      plugins: files and modules to load.
      data_dir: the only place to look for data sets, or None.
      text: of the file; None for a dictionary.
    """

    searches: tuple[SearchPlan, ...]
    retrain: RetrainPlan | None
    plugins: tuple[str, ...]
    data_dir: str | None
    text: str | None


def read_plan(plan: str | os.PathLike | Mapping[str, Any]) -> StudyPlan:
    """Reads a plan and checks its keys and their types.

    Args:
      plan: path of a TOML file, or a dictionary with its keys. Relative paths in a
        file start from its folder, and those of a dictionary from the working
        directory.

    Raises:
      ValueError: there is no such file, it is no TOML, or a key is unknown, missing or
        of another type.
    """
    if isinstance(plan, Mapping):
        return _Reader("The plan", pathlib.Path.cwd()).plan(plan, None)
    path = pathlib.Path(plan)
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise ValueError(
            f"The plan {path} cannot be read: {error.strerror or error}. Name a TOML "
            f"file; docs/clusters.md shows one."
        ) from None
    except ValueError as error:  # of tomllib, or another encoding than UTF-8
        raise ValueError(
            f"{path} is not TOML: {error}. Correct it; docs/clusters.md shows a plan."
        ) from None
    return _Reader(str(path), path.absolute().parent).plan(content, text)


def check_names(plan: StudyPlan) -> None:
    """Refuses unknown presets, strategies, variants and spaces; imports none of them.

    Raises:
      ValueError: names the unknown one, and close matches.
    """
    for each in plan.searches:
        check_known(PRESETS, each.preset, "preset")
        check_known(STRATEGIES, each.strategy, "strategy")
        if each.variant is not None:
            check_known(VARIANTS, each.variant, "variant")
        if each.space is not None:
            check_known(SPACES, each.space, "space")
    if plan.retrain is not None:
        check_known(RECIPES, plan.retrain.preset, "preset")


_TYPES = {
    str: "text",
    bool: "true or false",
    Mapping: "a table",
    list: "a list",
}
_TOP = {"plugins": list, "data_dir": str, "settings": Mapping, "retrain": Mapping}
_SEARCH = dict.fromkeys(("name", "preset", "strategy", "variant", "space"), str)
_SEARCH |= {"seeds": object, "settings": Mapping, "sweep": Mapping}
_RETRAIN = {"preset": str, "seeds": object, "settings": Mapping, "auxiliary": bool}


class _Reader(NamedTuple):
    """Reads the parts of a plan.

    Attributes:
      source: what messages call the plan.
      folder: from which relative paths start.
    """

    source: str
    folder: pathlib.Path

    def plan(self, content: Mapping[str, Any], text: str | None) -> StudyPlan:
        self._check_keys(content, _TOP | {"search": object}, "The plan")
        shared = self._settings(content.get("settings", {}), "[settings]")
        retrain = content.get("retrain")
        data_dir = content.get("data_dir")
        return StudyPlan(
            searches=tuple(
                self._search(each, place, shared)
                for each, place in self._searches(content.get("search"))
            ),
            retrain=None if retrain is None else self._retrain(retrain, shared),
            plugins=tuple(self._plugins(content.get("plugins", []))),
            data_dir=None if data_dir is None else self._path(data_dir),
            text=text,
        )

    def _searches(self, value: Any) -> list[tuple[Mapping, str]]:
        if isinstance(value, Mapping):
            return [(value, "[search]")]
        if isinstance(value, list) and value:
            return [(each, f"[[search]] {i}") for i, each in enumerate(value, start=1)]
        raise self._error(
            "needs a table [search], or several [[search]]. Name at least its preset."
        )

    def _search(self, table: Any, place: str, shared: Mapping) -> SearchPlan:
        self._check_keys(table, _SEARCH, place)
        name = table.get("name", "")
        if name and not NAME.fullmatch(name):
            raise self._error(
                f"{place} has the name {name!r}, which names a directory. Use letters, "
                f"digits, dots and hyphens."
            )
        settings = shared | self._settings(table.get("settings", {}), place)
        sweep = self._sweep(table.get("sweep", {}), place)
        for path in sweep:
            if path in settings:
                raise self._error(
                    f"{place} has {path} in settings and in sweep. Leave one out."
                )
        seeds = self._seeds(table.get("seeds", 1), place)
        if "seed" in sweep or ("seed" in settings and not isinstance(seeds, int)):
            raise self._error(
                f"{place} gives the seed twice, or sweeps over it. Name the seeds by "
                f"seeds = [0, 1, ...] alone."
            )
        return SearchPlan(
            name=name,
            preset=table.get("preset", "digits"),
            strategy=table.get("strategy", "egnas"),
            variant=table.get("variant"),
            space=table.get("space"),
            seeds=seeds,
            settings=settings,
            sweep=sweep,
        )

    def _retrain(self, table: Mapping, shared: Mapping) -> RetrainPlan:
        self._check_keys(table, _RETRAIN, "[retrain]")
        settings = shared | self._settings(table.get("settings", {}), "[retrain]")
        seeds = self._seeds(table.get("seeds", 1), "[retrain]")
        if "seed" in settings and not isinstance(seeds, int):
            raise self._error("[retrain] gives the seed twice. Leave one of them out.")
        return RetrainPlan(
            preset=table.get("preset", "digits"),
            seeds=seeds,
            settings=settings,
            auxiliary=table.get("auxiliary", True),
        )

    def _settings(self, table: Mapping, place: str) -> dict[str, Any]:
        settings = {}
        for path, value in self._flat(table, f"{place} settings"):
            if not isinstance(value, (bool, int, float, str)):
                raise self._error(
                    f"{place} gives {path} = {value!r}, but a setting is a number, "
                    f'true or false, or a text ("none" for none).'
                )
            is_file = path == "data.path" and str(value).lower() != "none"
            settings[path] = self._file(str(value)) if is_file else value
        return settings

    def _sweep(self, table: Mapping, place: str) -> dict[str, tuple[str, ...]]:
        sweep = {}
        for path, values in self._flat(table, f"{place} sweep"):
            known = (bool, int, float, str)
            if not isinstance(values, list) or not values:
                values = [None]
            if not all(isinstance(value, known) for value in values):
                raise self._error(
                    f"{place} sweeps over {path}, which takes a list of at least one "
                    f"number or text: {path} = [V1, V2, ...]."
                )
            sweep[path] = tuple(str(value) for value in values)
        return sweep

    def _flat(self, table: Mapping, place: str) -> Iterator[tuple[str, Any]]:
        """Dotted paths and values; a path may be a key, or a table in a table."""
        seen = set()

        def walk(part: Mapping, prefix: str) -> Iterator[tuple[str, Any]]:
            for key, value in part.items():
                if isinstance(value, Mapping):
                    yield from walk(value, f"{prefix}{key}.")
                else:
                    yield f"{prefix}{key}", value

        for path, value in walk(table, ""):
            if path in seen:
                raise self._error(f"{place} has {path} twice. Leave one of them out.")
            seen.add(path)
            yield path, value

    def _seeds(self, value: Any, place: str) -> Seeds:
        if type(value) is int and value >= 1:
            return value
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            seeds = tuple(value)
            are_seeds = all(type(seed) is int and seed >= 0 for seed in seeds)
            if are_seeds and len(set(seeds)) == len(seeds):
                return seeds
        raise self._error(
            f"{place} has seeds = {value!r}, but takes a number of seeds from 1, or a "
            f"list of different ones from 0: [0, 1, 2]."
        )

    def _plugins(self, names: list) -> Iterator[str]:
        for name in names:
            if not isinstance(name, str) or not name:
                raise self._error(
                    f"plugins has {name!r}, but lists files and names of modules."
                )
            yield self._path(name) if name.endswith(".py") or "/" in name else name

    def _file(self, name: str) -> str:
        path = self._path(name)
        if not pathlib.Path(path).is_file():
            raise self._error(
                f"data.path names {path}, which is no file. Name an .npz that all "
                f"workers can read."
            )
        return path

    def _path(self, name: str) -> str:
        return os.path.normpath(self.folder / pathlib.Path(name).expanduser())

    def _check_keys(self, table: Any, kinds: Mapping[str, type], place: str) -> None:
        if not isinstance(table, Mapping):
            raise self._error(f"{place} is {table!r}, but must be a table.")
        for key, value in table.items():
            if key not in kinds:
                close = difflib.get_close_matches(str(key), kinds, n=3)
                hint = f" Did you mean {', '.join(close)}?" if close else ""
                raise self._error(
                    f"{place} has the unknown key {key!r}.{hint} Known: "
                    f"{', '.join(sorted(kinds))}."
                )
            if not isinstance(value, kinds[key]):
                raise self._error(
                    f"{place} has {key} = {value!r}, but it must be "
                    f"{_TYPES[kinds[key]]}."
                )

    def _error(self, text: str) -> ValueError:
        separator = " " if text.startswith("needs") else ": "
        return ValueError(f"{self.source}{separator}{text}")
