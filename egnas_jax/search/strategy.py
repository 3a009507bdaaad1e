"""What a search method is to the loop: a record of pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Strategy(NamedTuple):
    """A search method.

    Attributes:
      every: "step" or "epoch", how often `update` runs.
      init: key -> state.
      mixing: (key, state) -> the mixing that the weights train under next.
      update: (key, state, variables, train batch, valid batch) -> state, info (figures
        to log, f32[]).
      incumbent: state -> the mixing from which the genotype is derived.
    """

    every: str
    init: Callable
    mixing: Callable
    update: Callable
    incumbent: Callable


@dataclass(frozen=True)
class Regime:
    """What a method asks of the loop around it.

    Attributes:
      order: "weights_first" or "strategy_first" within an epoch.
      learning_rate_epoch: "current", lr(t), or "next", lr(t + 1), as torch gives it
        when the scheduler steps first.
      last_batch: "drop" or "keep" the short last batch of an epoch.
      split: "permutation" by seed, or "file_order".
      augment_valid: whether validation images are cropped and flipped as in training.
      alpha_in_clip: whether alpha's accumulated gradient counts in the clipped norm.
      valid_batch_size: images of the validation batch that `update` gets.
    """

    order: str = "weights_first"
    learning_rate_epoch: str = "current"
    last_batch: str = "drop"
    split: str = "permutation"
    augment_valid: bool = False
    alpha_in_clip: bool = False
    valid_batch_size: int = 128
