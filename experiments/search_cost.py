"""Adds up what a search cost, in forward passes of one image.

Every record of a search has the costs of its epoch (egnas_jax/search/cost.py): a
forward and backward pass of one image counts 3. Weight steps and the choice of a cell
are counted apart: methods that are compared take equally many of both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import egnas_jax as eg
from egnas_jax.search.cost import total_costs


class Cost(NamedTuple):
    """The cost of a search.

    Attributes:
      weight_steps: steps of SGD on the weights.
      weight_images: passes of one image in them.
      choice_images: passes of one image by which the method chose; None where it counts
        none.
    """

    weight_steps: int
    weight_images: int
    choice_images: float | None


def cost_of(config: eg.SearchConfig, lines: Sequence[dict], num_train: int) -> Cost:
    """The cost of a search.

    Args:
      config: of the search.
      lines: its records, one an epoch.
      num_train: its training images.
    """
    total = total_costs(lines)
    return Cost(
        weight_steps=steps_of_epoch(config, num_train) * len(lines),
        weight_images=total["weight_cost"],
        choice_images=total["search_cost"],
    )


def steps_of_epoch(config: eg.SearchConfig, num_train: int) -> int:
    """Weight steps of an epoch."""
    whole, rest = divmod(num_train, config.batch_size)
    return whole + (rest > 0 and config.schedule.last_batch == "keep")
