"""Counts what a search costs, in forward passes of one image.

A forward pass of one image through the supernet, or through a child of it, counts 1,
and a backward pass counts 2, so that a forward and backward pass counts 3. Weight steps
and the choice of a cell are counted apart: methods that are compared take equally many
of both. The passes that give an epoch its validation accuracy are left out, since they
choose nothing.

Methods that rank candidates count their own forward passes, as `candidate_images` of
the epoch's record. The others take the passes of `PASSES` in every update.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import egnas_jax as eg

FORWARD, FORWARD_BACKWARD = 1, 3


class Passes(NamedTuple):
    """What one update of a gradient method takes.

    Attributes:
      valid: passes of each image of the validation batch.
      train: passes of each image of the training batch, beside the weight step's own.
    """

    valid: int
    train: int = 0


FIRST_ORDER = Passes(valid=FORWARD_BACKWARD)
# The gradient of the next weight step, and: two gradients at displaced weights; or the
# derivative of one gradient, which takes twice its passes.
SECOND_ORDER = Passes(valid=FORWARD_BACKWARD, train=3 * FORWARD_BACKWARD)


def _of_darts(strategy: Any) -> Passes:
    return FIRST_ORDER if strategy.second_order == "off" else SECOND_ORDER


# method -> (its configuration) -> passes; a method that is not listed takes those of
# the first order
PASSES: dict[str, Callable[[Any], Passes]] = {
    "darts": _of_darts,
    # it learns from the gradient that the weight step computes anyway
    "snas": lambda strategy: Passes(valid=0),
}


class Cost(NamedTuple):
    """The cost of a search.

    Attributes:
      weight_steps: steps of SGD on the weights.
      weight_images: passes of one image in them.
      choice_images: passes of one image by which the method chose.
    """

    weight_steps: int
    weight_images: int
    choice_images: float


def cost_of(config: eg.SearchConfig, lines: Sequence[dict], num_train: int) -> Cost:
    """The cost of a search.

    Args:
      config: of the search.
      lines: its records, one an epoch.
      num_train: its training images.
    """
    steps = steps_of_epoch(config, num_train)
    weight_steps = steps * len(lines)
    return Cost(
        weight_steps=weight_steps,
        weight_images=FORWARD_BACKWARD * config.batch_size * weight_steps,
        choice_images=_choice_images(config, lines, steps),
    )


def steps_of_epoch(config: eg.SearchConfig, num_train: int) -> int:
    """Weight steps of an epoch."""
    whole, rest = divmod(num_train, config.batch_size)
    return whole + (rest > 0 and config.schedule.last_batch == "keep")


def _choice_images(config: eg.SearchConfig, lines: Sequence[dict], steps: int) -> float:
    strategy = config.strategy
    if strategy.individuals is not None:
        return FORWARD * sum(line["candidate_images"] for line in lines)
    of = PASSES.get(config.strategy_name, lambda strategy: FIRST_ORDER)(strategy)
    images = of.valid * strategy.valid_batch_size + of.train * config.batch_size
    # a method that searches in stages warms up in each of them
    warmup = strategy.warmup * getattr(strategy, "num_stages", 1)
    return images * steps * max(len(lines) - warmup, 0)
