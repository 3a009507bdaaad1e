"""What a search method is to the loop: a record of pure functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple


@dataclass(frozen=True)
class Regime:
    """How the loop around a method runs an epoch.

    Attributes:
      order: "weights_first" or "strategy_first" within an epoch.
      learning_rate_epoch: "current", lr(t), or "next", lr(t + 1), as torch gives it
        when the scheduler steps first.
      last_batch: "drop" or "keep" the short last batch of an epoch.
      split: "permutation" by seed, or "file_order".
      augment_valid: whether validation images are cropped and flipped as in training.
      alpha_in_clip: whether alpha's accumulated gradient counts in the clipped norm.

    Raises:
      ValueError: an unknown choice.
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
        for name, allowed in self.choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(
                    f"strategy.{name} is {value!r}, but must be one of "
                    f"{', '.join(allowed)}."
                )


class Strategy(NamedTuple):
    """A search method.

    Attributes:
      every: "step" or "epoch", how often `update` runs.
      init: key -> state.
      mixing: (key, state) -> the mixing that the weights train under next.
      update: (key, state, variables, train batch, valid batch) -> state, info (figures
        to log, f32[]; those of a method that updates every step are not logged). A
        method that updates once an epoch gets the validation batch in both places.
      incumbent: state -> the mixing from which the genotype is derived.
      valid_batch_size: images of the validation batch that `update` gets.
      regime: what the method asks of the loop.
      numbers: name -> what `update` reckons with and no shape depends on; one compiled
        program serves all their values.
      given: numbers as f32[] -> the method with these; None where it has none.
    """

    every: str
    init: Callable
    mixing: Callable
    update: Callable
    incumbent: Callable
    valid_batch_size: int
    regime: Regime = Regime()
    numbers: Mapping[str, float] = MappingProxyType({})
    given: Callable | None = None
