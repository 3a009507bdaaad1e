"""Counts what an epoch of a search costs, in forward passes of one image.

A forward pass of one image through the supernet, or through a child of it, counts 1,
and a backward pass counts 2, so that a forward and backward pass counts 3. The training
of the weights and the choice of a cell are counted apart. The pass over the validation
images that gives an epoch its accuracy is left out, since it chooses nothing; so is the
watch for a collapse.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

FORWARD_BACKWARD = 3
NAMES = ("weight_cost", "search_cost")  # of an epoch's record, and of a summary


class Passes(NamedTuple):
    """What one update of a method costs that updates in every weight step.

    Attributes:
      valid: passes of each image of the validation batch.
      train: passes of each image of the training batch, besides the weight step's own.
      warmup: first epochs of the search, or of a stage, whose updates take none.
    """

    valid: int = 0
    train: int = 0
    warmup: int = 0


def epoch_costs(
    passes: Passes | None,
    epoch: int,
    *,
    train_images: int,
    valid_images: int,
    metrics: Mapping[str, float | list | None],
) -> dict[str, float | None]:
    """Returns the cost of one epoch.

    Args:
      passes: of the method; None: it counts its own forward passes, which are
        `candidate_images` of its metrics.
      epoch: of the search, or of its stage, from 0.
      train_images: number of images on which the weights took their steps.
      valid_images: of all updates of the epoch together, if each has a batch.
      metrics: metrics that the method returned in this epoch.

    Returns:
      `weight_cost`, and `search_cost`, which is None where the method counts nothing.
    """
    if passes is None:
        chosen = metrics.get("candidate_images")
    elif epoch < passes.warmup:
        chosen = 0
    else:
        chosen = passes.valid * valid_images + passes.train * train_images
    return dict(zip(NAMES, (FORWARD_BACKWARD * train_images, chosen), strict=True))


def total_costs(records: Sequence[Mapping]) -> dict[str, float | None]:
    """Returns the sums of both costs over records; None where one does not have it."""
    columns = {name: [record.get(name) for record in records] for name in NAMES}
    return {
        name: None if None in column else sum(column)
        for name, column in columns.items()
    }
