"""Turns the configuration of a search in stages into the configurations of its stages.

A search without stages is one stage with the configuration of the search.
"""

import dataclasses

from egnas_jax.nn.supernet_config import LivePrimitives, as_live
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.search.search_run import SearchStage
from egnas_jax.search.strategy import PlannedStage
from egnas_jax.space import SPACES


def planned_stages(config: SearchConfig) -> tuple[PlannedStage, ...]:
    """Returns the stages that a method plans; () for a method without stages.

    Raises:
      ValueError: the stages do not fit the rest of the configuration.
    """
    plan = getattr(config.strategy, "plan", None)
    if plan is None:
        return ()
    if config.watch.stop:
        raise ValueError(
            f"watch.stop compares the eigenvalues of epochs, but {config.strategy_name}"
            f" searches in stages whose supernets differ. Set watch.stop=false."
        )
    return plan(config.supernet, config.epochs)


def stage_of(
    config: SearchConfig, index: int, live: LivePrimitives | None
) -> SearchStage | None:
    """Returns a stage of a search as the loop takes it; None without stages.

    Args:
      config: of the whole search.
      index: of the stage, from 0.
      live: primitives of its supernet; None: all.

    Raises:
      ValueError: the search has no stage of this index.
    """
    if not planned_stages(config):
        return None
    stage = _planned(config, index, live)
    return SearchStage(index, stage.first, stage.first + stage.epochs, live)


def config_of_stage(config: SearchConfig, stage: dict | None) -> SearchConfig:
    """Returns the configuration of one stage of a search.

    Args:
      config: of the whole search.
      stage: its index and live primitives, as `SearchStage.as_json()` has them; None:
        the first.
    """
    if not planned_stages(config):
        return config
    stage = stage or {"index": 0, "live": None}
    live = as_live(stage["live"])
    planned = _planned(config, stage["index"], live)
    return dataclasses.replace(
        config,
        epochs=planned.epochs,
        supernet=dataclasses.replace(planned.supernet, live=live),
        strategy=planned.strategy,
    )


def _planned(
    config: SearchConfig, index: int, live: LivePrimitives | None
) -> PlannedStage:
    stages = planned_stages(config)
    if index >= len(stages):
        raise ValueError(
            f"it holds stage {index + 1}, but this search has {len(stages)}. Set "
            f"strategy.kept to that of the run."
        )
    left = {len(edge) for edges in live or () for edge in edges}
    if left and left != {stages[index - 1].kept}:
        raise ValueError(
            f"it holds stage {index + 1} with {max(left)} primitives on an edge, but "
            f"this search keeps {stages[index - 1].kept} there. Set strategy.kept to "
            f"that of the run."
        )
    return stages[index]


def describe_plan(config: SearchConfig) -> str:
    """Returns the stages of a search as lines; "" for a search without stages."""
    space = SPACES[config.supernet.space]
    lines, before = [], len(space.primitives)
    for index, stage in enumerate(planned_stages(config)):
        layers = stage.supernet.layers
        cells = "1 cell" if layers == 1 else f"{layers} cells"
        lines.append(
            f"Stage {index + 1}: epochs {stage.first + 1} to "
            f"{stage.first + stage.epochs}, {cells}, "
            f"{before} primitives on every edge, of which {stage.kept} stay."
        )
        before = stage.kept
    return "\n".join(lines)
