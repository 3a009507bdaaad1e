"""The settings of an epoch that no method has for itself."""

import dataclasses
from typing import ClassVar

from egnas_jax.settings import check_choices, check_field_types


@dataclasses.dataclass(frozen=True)
class EpochSchedule:
    """What the search loop does in an epoch, whichever method it runs.

    Attributes:
      order: "weights_first" or "strategy_first": which of the two is updated first, for
        a method that updates once an epoch.
      learning_rate_epoch: epoch at which the cosine is taken: "current", t, or "next",
        t + 1, as when torch's scheduler steps before training.
      last_batch: "drop" or "keep" the short last batch of an epoch.
      split: images of training and validation, by a "permutation" of the seed or in
        "file_order".
      augment_valid: whether validation images are cropped and flipped as in training.
      alpha_in_clip: whether the gradient of alpha, accumulated over all steps, counts
        in the norm by which the gradient of the weights is clipped. Refused for methods
        that train one cell at a time, under whose mixings it is zero, and for those
        that move alpha by it in every step, so that nothing accumulates.

    Raises:
      ValueError: a value has the wrong type or is none of the choices.
    """

    order: str = "weights_first"
    learning_rate_epoch: str = "current"
    last_batch: str = "drop"
    split: str = "permutation"
    augment_valid: bool = False
    alpha_in_clip: bool = False

    choices: ClassVar = {
        "order": ("weights_first", "strategy_first"),
        "learning_rate_epoch": ("current", "next"),
        "last_batch": ("drop", "keep"),
        "split": ("permutation", "file_order"),
    }

    def __post_init__(self):
        check_choices(self, self.choices, "schedule.")
        check_field_types(self, "schedule.")
