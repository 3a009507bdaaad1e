"""Reads the plan of a study: its searches, and the retrainings of what they find.

A plan is a TOML file, or a dictionary with the same keys; docs/clusters.md shows one.
Values of settings are checked where configurations are made (`runs.study.units`). The
module does not import JAX.
"""

import os
import pathlib
import re
import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple

from egnas_jax.lookup import check_known
from egnas_jax.runs.presets import PRESETS, RECIPES
from egnas_jax.runs.study.plan_tables import PlanReader, Seeds
from egnas_jax.space import SPACES
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.egnas.variants import VARIANTS

NAME = re.compile(r"\w[\w.=,+-]*")


class SearchPlan(NamedTuple):
    """One table [search].

    Attributes:
      name: of its directory below search/; "" is that directory itself.
      preset, strategy, variant, space: see `search_config`.
      seeds: number of seeds, from that of the configuration on; or the seeds.
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
      preset, settings, auxiliary: see `retrain_config`; a preset of None is that of
        the digits, and serves only searches on the digits.
      seeds: number of seeds, from that of the configuration on; or the seeds.
    """

    preset: str | None
    seeds: Seeds
    settings: Mapping[str, Any]
    auxiliary: bool


class StudyPlan(NamedTuple):
    """A plan.

    Attributes:
      searches: each table [search].
      retrain: the table [retrain], or None.
      shared: settings of all runs, which are included in those of the tables.
      plugins: files and modules to load.
      data_dir: the only place to look for data sets, or None.
      text: of the file; None for a dictionary.
    """

    searches: tuple[SearchPlan, ...]
    retrain: RetrainPlan | None
    shared: Mapping[str, Any]
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
        return _study(PlanReader("The plan", pathlib.Path.cwd()), plan, None)
    path = pathlib.Path(plan)
    try:
        text = path.read_text(encoding="utf-8-sig")
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
    return _study(PlanReader(str(path), path.absolute().parent), content, text)


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
    if plan.retrain is not None and plan.retrain.preset is not None:
        check_known(RECIPES, plan.retrain.preset, "preset")


_TOP = {"plugins": list, "data_dir": str, "settings": Mapping, "retrain": Mapping}
_TOP |= {"search": object}
_SEARCH = dict.fromkeys(("name", "preset", "strategy", "variant", "space"), str)
_SEARCH |= {"seeds": object, "settings": Mapping, "sweep": Mapping}
_RETRAIN = {"preset": str, "seeds": object, "settings": Mapping, "auxiliary": bool}


def _study(reader: PlanReader, content: Mapping, text: str | None) -> StudyPlan:
    reader.check_keys(content, _TOP, "the plan")
    shared = reader.settings(content.get("settings", {}), "[settings]")
    searches = tuple(
        _search(reader, table, place, shared)
        for table, place in _search_tables(reader, content.get("search"))
    )
    retrain, data_dir = content.get("retrain"), content.get("data_dir")
    return StudyPlan(
        searches=searches,
        retrain=None if retrain is None else _retrain(reader, retrain, shared),
        shared=shared,
        plugins=tuple(reader.plugins(content.get("plugins", []))),
        data_dir=None if data_dir is None else reader.data_dir(data_dir),
        text=text,
    )


def _search_tables(reader: PlanReader, value: Any) -> list[tuple[Any, str]]:
    """Each table [search], with what messages call it."""
    if isinstance(value, list) and value:
        return [(each, f"[[search]] {i}") for i, each in enumerate(value, start=1)]
    if isinstance(value, Mapping):
        return [(value, "[search]")]
    raise reader.error(
        "the plan needs a table [search], or several [[search]]. docs/clusters.md "
        "shows one."
    )


def _search(
    reader: PlanReader, table: Any, place: str, shared: Mapping[str, Any]
) -> SearchPlan:
    reader.check_keys(table, _SEARCH, place)
    name = table.get("name", "")
    if name and not NAME.fullmatch(name):
        raise reader.error(
            f"{place} has the name {name!r}, but names a directory by it. Use letters, "
            f"digits, dots and hyphens."
        )
    settings = shared | reader.settings(table.get("settings", {}), place)
    sweep = reader.sweep(table.get("sweep", {}), place)
    if both := [path for path in sweep if path in settings]:
        raise reader.error(
            f"{place} has {both[0]} in settings and in sweep. Leave one out."
        )
    seeds = reader.seeds(table.get("seeds", 1), place)
    _check_seed_once(reader, {**settings, **sweep}, seeds, place)
    if "seed" in sweep:
        raise reader.error(f"{place} sweeps over seed. Name seeds = [0, 1, ...].")
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


def _retrain(
    reader: PlanReader, table: Mapping, shared: Mapping[str, Any]
) -> RetrainPlan:
    place = "[retrain]"
    reader.check_keys(table, _RETRAIN, place)
    settings = shared | reader.settings(table.get("settings", {}), place)
    seeds = reader.seeds(table.get("seeds", 1), place)
    _check_seed_once(reader, settings, seeds, place)
    return RetrainPlan(
        preset=table.get("preset"),
        seeds=seeds,
        settings=settings,
        auxiliary=table.get("auxiliary", True),
    )


def _check_seed_once(
    reader: PlanReader, settings: Mapping[str, Any], seeds: Seeds, place: str
) -> None:
    if "seed" in settings and not isinstance(seeds, int):
        raise reader.error(
            f"{place} has seeds = {list(seeds)} and the setting seed. Leave one out."
        )
