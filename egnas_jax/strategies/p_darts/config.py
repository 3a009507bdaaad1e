"""Configures P-DARTS, and plans the stages of its search.

What differs between the stages is given as a list with one entry for each stage, such
as "5,3,1".

Source: P-DARTS (Chen et al., ICCV 2019); train_search.py of its reference.
"""

import dataclasses
from typing import ClassVar

from egnas_jax.nn.supernet_config import SupernetConfig
from egnas_jax.search.strategy import PlannedStage
from egnas_jax.settings import (
    LARGEST_FLOAT,
    LARGEST_INT,
    check_choices,
    check_field_types,
    check_ranges,
)
from egnas_jax.space import SPACES
from egnas_jax.strategies.alpha_adam import check_adam

EQUAL = "equal"
# name of a list -> type, smallest and largest entry
_LISTS = {
    "added_layers": (int, -LARGEST_INT, LARGEST_INT),
    "added_channels": (int, -LARGEST_INT, LARGEST_INT),
    "kept": (int, 1, LARGEST_INT),
    "skip_dropout": (float, 0.0, 0.99),
    "stage_epochs": (int, 1, LARGEST_INT),
}


@dataclasses.dataclass(frozen=True)
class PDARTSConfig:
    """The settings of P-DARTS.

    The configuration of a later stage has the lists from this stage on.

    Attributes:
      learning_rate, beta1, weight_decay: of Adam on alpha.
      clip_norm: largest norm of alpha's gradient.
      batch_size: validation images of one step.
      valid_batches: "permuted" runs through the validation images in an epoch; "drawn"
        draws each batch from all of them, as DARTS does.
      warmup: first epochs of each stage, in which alpha does not move.
      stage_epochs: epochs of the stages, a list; "equal" divides those of the search,
        where earlier stages get the rest.
      added_layers: cells of the stages beyond `supernet.layers`, a list.
      added_channels: the same for `supernet.channels`.
      kept: primitives that every edge keeps at the end of the stages, a list; 1 at
        last.
      skip_dropout: probability of the dropout behind skips at the start of the stages,
        a list; `rules.dropout_factor` says what share of it each epoch has.
      max_skips: largest number of skips in the derived normal cell; None: any.

    Raises:
      ValueError: a number out of its range, an unknown choice, or lists that do not fit
        together.
    """

    learning_rate: float = 6e-4
    beta1: float = 0.5
    weight_decay: float = 1e-3
    clip_norm: float = 5.0
    batch_size: int = 96
    valid_batches: str = "permuted"
    warmup: int = 10
    stage_epochs: str = EQUAL
    added_layers: str = "0,6,12"
    added_channels: str = "0,0,0"
    kept: str = "5,3,1"
    skip_dropout: str = "0.1,0.4,0.7"
    max_skips: int | None = 2

    individuals: ClassVar[None] = None

    def __post_init__(self):
        check_adam(self)
        ranges = {
            "clip_norm": (1e-12, LARGEST_FLOAT),
            "batch_size": (1, LARGEST_INT),
            "warmup": (0, LARGEST_INT),
            "max_skips": (0, LARGEST_INT),
        }
        check_ranges(self, ranges, "strategy.")
        check_field_types(self, "strategy.")
        check_choices(self, {"valid_batches": ("permuted", "drawn")}, "strategy.")
        for name in _LISTS:
            entries = self.entries(name)
            if entries and len(entries) != self.num_stages:
                raise ValueError(
                    f"strategy.{name} is {getattr(self, name)!r}, for {len(entries)} "
                    f"stages, but strategy.kept is {self.kept!r}, for "
                    f"{self.num_stages}. Give one entry for each stage."
                )

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one update."""
        return self.batch_size

    @property
    def num_stages(self) -> int:
        """Stages of the search, or those that are left of it."""
        return len(self.entries("kept"))

    def entries(self, name: str) -> tuple[int, ...] | tuple[float, ...]:
        """Returns a list's entries, one for each stage; () of "equal".

        Raises:
          ValueError: the text is no list of numbers, or a number is out of its range.
        """
        text, (kind, least, most) = getattr(self, name), _LISTS[name]
        if name == "stage_epochs" and text == EQUAL:
            return ()
        try:
            numbers = tuple(kind(part) for part in text.split(","))
        except ValueError:
            what = "whole numbers" if kind is int else "numbers"
            raise ValueError(
                f"strategy.{name} is {text!r}, but must be {what} separated by commas, "
                f"one for each stage."
            ) from None
        if not all(least <= number <= most for number in numbers):
            raise ValueError(
                f"strategy.{name} is {text!r}, but each entry must be from {least} to "
                f"{most}."
            )
        return numbers

    def plan(self, supernet: SupernetConfig, epochs: int) -> tuple[PlannedStage, ...]:
        """Plans the stages of a search.

        Args:
          supernet: the smallest one, to which the stages add cells and channels.
          epochs: of all stages together.

        Raises:
          ValueError: the stages do not fit the epochs, the space or the sizes of a
            supernet.
        """
        self._check_kept(supernet)
        lengths = self._lengths(epochs)
        return tuple(
            PlannedStage(
                first=sum(lengths[:index]),
                epochs=length,
                supernet=self._supernet(supernet, index),
                strategy=self._from_stage(index),
                kept=self.entries("kept")[index],
            )
            for index, length in enumerate(lengths)
        )

    def _check_kept(self, supernet: SupernetConfig) -> None:
        """Refuses numbers of primitives that the edges of a space cannot have."""
        space = SPACES[supernet.space]
        pruned = supernet.live is not None or space.live is not None
        if not space.keeps_two_edges or pruned:
            raise ValueError(
                f"p_darts prunes the space {space.name}: it needs a space whose nodes "
                f'keep two edges (derive="darts", such as --space darts8), and whose '
                f"edges all have the same primitives."
            )
        before = len(space.primitives), *self.entries("kept")
        falls = all(old > new for old, new in zip(before, before[1:], strict=False))
        if not falls or before[-1] != 1:
            raise ValueError(
                f"strategy.kept is {self.kept!r}, but must fall from below "
                f"{before[0]}, the primitives of the space {space.name}, to 1 at last."
            )

    def _lengths(self, epochs: int) -> tuple[int, ...]:
        """The epochs of each stage."""
        count, lengths = self.num_stages, self.entries("stage_epochs")
        if not lengths:
            share, rest = divmod(epochs, count)
            lengths = tuple(share + (index < rest) for index in range(count))
        if sum(lengths) != epochs or min(lengths) < 1:
            given = "one epoch each" if 0 in lengths else f"{sum(lengths)} epochs"
            raise ValueError(
                f"The {count} stages of p_darts need {given} (strategy.stage_epochs is "
                f"{self.stage_epochs!r}), but epochs is {epochs}. Change one of the "
                f"two; {EQUAL} divides the epochs."
            )
        return lengths

    def _supernet(self, supernet: SupernetConfig, index: int) -> SupernetConfig:
        """The supernet of a stage, not pruned yet."""
        added = {
            "layers": self.entries("added_layers")[index],
            "channels": self.entries("added_channels")[index],
        }
        sizes = {name: getattr(supernet, name) + added[name] for name in added}
        try:
            return dataclasses.replace(supernet, **sizes)
        except ValueError as error:
            raise ValueError(
                f"Stage {index + 1} of p_darts adds {added['layers']} layers and "
                f"{added['channels']} channels (strategy.added_layers, .added_channels)"
                f" to the supernet's {supernet.layers} and {supernet.channels}: {error}"
            ) from None

    def _from_stage(self, index: int) -> "PDARTSConfig":
        """The configuration of a stage and of those after it."""
        lists = {
            name: ",".join(getattr(self, name).split(",")[index:])
            for name in _LISTS
            if self.entries(name)
        }
        return dataclasses.replace(self, **lists)
