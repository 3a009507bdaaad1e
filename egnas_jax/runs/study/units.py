"""Makes the units of a study from its plan: one unit is one run.

Searches come first, since a retraining needs the search whose genotype it trains.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from egnas_jax.data.config import DataConfig
from egnas_jax.data.source import check_found
from egnas_jax.runs.presets import DEFAULT_RECIPE
from egnas_jax.runs.retrain_config import retrain_config
from egnas_jax.runs.run_names import check_name
from egnas_jax.runs.search_config import SearchConfig, search_config
from egnas_jax.runs.study.plan import RetrainPlan, SearchPlan, StudyPlan
from egnas_jax.runs.study.study_file import Unit
from egnas_jax.runs.sweep_configs import setting_label, swept_configs, with_seeds
from egnas_jax.settings import as_dict
from egnas_jax.storage.records import plain

SEARCH, RETRAIN = "search", "retrain"
SHORTER = "Give [[search]] a shorter name, or sweep over fewer settings."


def plan_units(plan: StudyPlan) -> list[Unit]:
    """Returns the units of a plan.

    A search has the directory search/NAME/SETTING=VALUE/seedN; a retraining of what it
    finds retrain/NAME/SETTING=VALUE/seedN/seedM.

    Args:
      plan: from `read_plan`; its plug-ins are loaded.

    Raises:
      ValueError: an unknown name or path, a value of the wrong type or out of range,
        data that are not there, or two units with the same directory.
    """
    searches = []
    for each in plan.searches:
        with _named(f"[search] {each.name}".rstrip(), plan):
            searches += _searches(each, plan)
    units = [unit for unit, _ in searches]
    if plan.retrain is not None:
        with _named("[retrain]", plan):
            for unit, config in searches:
                units += _retrainings(plan.retrain, unit, config, plan)
    _check_directories(units)
    return units


@contextlib.contextmanager
def _named(place: str, plan: StudyPlan) -> Iterator[None]:
    """Context whose errors say which tables of the plan they concern."""
    try:
        yield
    except ValueError as error:
        tables = f"{place} with [settings]" if plan.shared else place
        raise ValueError(f"{tables}: {error}") from None


def _searches(
    group: SearchPlan, plan: StudyPlan
) -> Iterator[tuple[Unit, SearchConfig]]:
    def make(settings: Mapping[str, Any]) -> SearchConfig:
        return search_config(
            group.preset,
            strategy=group.strategy,
            variant=group.variant,
            space=group.space,
            settings={**group.settings, **settings},
        )

    for setting in swept_configs(make, group.sweep, option="[search.sweep]"):
        check_found(setting.data, plan.data_dir)
        label = setting_label(_with_file_name(setting), tuple(group.sweep))
        for config in with_seeds(setting, group.seeds):
            parts = (SEARCH, group.name, label, f"seed{config.seed}")
            yield _unit(SEARCH, "/".join(filter(None, parts)), config, plan), config


def _with_file_name(config: SearchConfig) -> SearchConfig:
    """The configuration with the file of its images, and not its folder, by name."""
    if config.data.path is None:
        return config
    name = pathlib.PurePath(config.data.path).name
    return dataclasses.replace(config, data=dataclasses.replace(config.data, path=name))


def _retrainings(
    group: RetrainPlan, search: Unit, searched: SearchConfig, plan: StudyPlan
) -> Iterator[Unit]:
    config = retrain_config(
        group.preset or DEFAULT_RECIPE,
        settings={"split_seed": searched.seed} | dict(group.settings),
        auxiliary=group.auxiliary,
    )
    if group.preset is None:
        _check_same_data(search, searched.data, config.data)
    check_found(config.data, plan.data_dir)
    folder = search.run.removeprefix(SEARCH)
    for each in with_seeds(config, group.seeds):
        run = f"{RETRAIN}{folder}/seed{each.seed}"
        yield _unit(RETRAIN, run, each, plan, needs=(search.run,))


def _check_same_data(search: Unit, searched: DataConfig, data: DataConfig) -> None:
    """Refuses to train on other images than those of the search, unless that is said.

    Raises:
      ValueError: the data sets differ, and the plan has no preset of retrainings.
    """
    if data.path == searched.path and (data.path or data.name == searched.name):
        return
    names = [each.path or each.name for each in (searched, data)]
    raise ValueError(
        f"{search.run} searches on {names[0]}, but what it finds would be trained on "
        f'{names[1]}. Name the recipe by preset = "..." in [retrain], and images of '
        f"your own by data.path in [settings], which holds for searches and "
        f"retrainings."
    )


def _unit(
    kind: str, run: str, config: Any, plan: StudyPlan, *, needs: tuple[str, ...] = ()
) -> Unit:
    stored = plain(as_dict(config))
    return Unit(run, kind, needs, stored, plan.data_dir)


def _check_directories(units: Sequence[Unit]) -> None:
    """Refuses names that are too long, and units in the directories of others."""
    first: dict[str, int] = {}
    for index, unit in enumerate(units, start=1):
        check_name(unit.run, SHORTER)
        if unit.run in first:
            raise ValueError(
                f"Units {first[unit.run]} and {index} of the plan have the same "
                f"directory, {unit.run}. Give each [[search]] another name."
            )
        first[unit.run] = index
    for unit in units:
        for parent in pathlib.PurePosixPath(unit.run).parents:
            if str(parent) in first:
                raise ValueError(
                    f"The directory {unit.run} of a unit lies in that of another, "
                    f"{parent}. Give each [[search]] another name."
                )
