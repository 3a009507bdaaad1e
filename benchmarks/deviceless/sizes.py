"""Sets how large the compiled programs are: the default search, or a small one."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import epoch, parity, rows, small_space
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.retrain.config import RetrainConfig


class Size(NamedTuple):
    """How large the programs are.

    Attributes:
      case: population and weight step.
      plan: epoch of a search.
      recipe: retraining.
    """

    case: parity.Case
    plan: epoch.Plan
    recipe: RetrainConfig


def full_size() -> Size:
    """The sizes of the default search and retraining on CIFAR-10."""
    case = parity.CASES["full"]
    return Size(case, epoch.FULL, rows.recipe(case, trial=False))


def small_size() -> Size:
    """Networks of one cell, with one node in a search; as many images as at full size.

    Individuals share the stem and what the only cell computes before the mixing, so a
    population moves less than `traffic` counts.
    """
    config = SupernetConfig(layers=1, space=small_space.register())
    case = parity.CASES["full"]._replace(config=config)
    strategy = dataclasses.replace(epoch.FULL.strategy, samples=2)
    plan = dataclasses.replace(
        epoch.FULL, supernet=config, strategy=strategy, images=512
    )
    recipe = rows.recipe(case, trial=False)
    network = dataclasses.replace(recipe.network, layers=1, auxiliary=False)
    return Size(case, plan, dataclasses.replace(recipe, network=network))


SIZES: dict[str, Callable[[], Size]] = {"full": full_size, "small": small_size}


def with_lowering(size: Size, name: str) -> Size:
    """Sets `supernet.lowering`; a retraining takes what `auto` selects."""
    config = dataclasses.replace(size.case.config, lowering=name)
    supernet = dataclasses.replace(size.plan.supernet, lowering=name)
    plan = dataclasses.replace(size.plan, supernet=supernet)
    return size._replace(case=size.case._replace(config=config), plan=plan)
