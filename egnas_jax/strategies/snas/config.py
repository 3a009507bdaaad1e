"""Configures SNAS."""

import dataclasses
from typing import ClassVar

import flax.struct

from egnas_jax.settings import (
    LARGEST_FLOAT,
    LARGEST_INT,
    check_choices,
    check_ranges,
)
from egnas_jax.strategies.alpha_adam import check_adam
from egnas_jax.types import Array

BETA1 = 0.5
RESOURCE_CELLS = ("counted", "six_and_two")


@flax.struct.dataclass
class SNASHyperparams:
    """The numbers of SNAS that affect no shape; `SNASConfig` says what they are.

    Attributes:
      learning_rate, beta1, weight_decay, clip_norm: of the optimizer of alpha.
      temperature, temperature_min, temperature_epochs: of the Gumbel-softmax.
    """

    learning_rate: Array | float
    beta1: Array | float
    weight_decay: Array | float
    clip_norm: Array | float
    temperature: Array | float
    temperature_min: Array | float
    temperature_epochs: Array | float


@dataclasses.dataclass(frozen=True)
class SNASConfig:
    """The settings of SNAS.

    Attributes:
      alpha_optimizer: "sgd" without momentum or decay, as published for one GPU, or
        "adam", which the reference has for several, with a weight decay of 1e-3. SGD
        moves alpha by at most `learning_rate * clip_norm` a step, so short runs need
        Adam or a larger rate.
      learning_rate, weight_decay: of that optimizer. The default decay is that of the
        published SGD: 0, for Adam too.
      beta1: of Adam; SGD has none.
      clip_norm: largest norm of alpha's gradient.
      temperature: of the Gumbel-softmax at the start.
      temperature_min: what it falls to, on a line.
      temperature_epochs: length of that line, epochs; lower it in shorter searches.
      resource_penalty: weight of the resource term in the loss; 0: none. The
        reference's command has 1.5e-3.
      resource_cells: by what the sum of that term over the cells of a kind is divided:
        their number, "counted", or "six_and_two", as published, which counts the
        normal and the reduction cells of a network of 8 cells at any depth.
      drop_path: probability with which a whole edge of an image is dropped in training;
        the reference's command has 0.3.
      derive: "edge_all" keeps every edge, with its strongest primitive, and drops those
        whose strongest is `none`; "two" derives as DARTS does.

    Raises:
      ValueError: a number out of its range, an unknown choice, a beta1 for SGD, numbers
        of cells without a resource term, or a temperature that would rise.
    """

    alpha_optimizer: str = "sgd"
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    beta1: float = BETA1
    clip_norm: float = 10.0
    temperature: float = 1.0
    temperature_min: float = 0.03
    temperature_epochs: int = 150
    resource_penalty: float = 0.0
    resource_cells: str = "counted"
    drop_path: float = 0.0
    derive: str = "edge_all"

    warmup: ClassVar[int] = 0
    individuals: ClassVar[None] = None
    valid_batch_size: ClassVar[int] = 1  # it learns from the training images alone

    def __post_init__(self):
        check_adam(self)
        choices = {"alpha_optimizer": ("sgd", "adam"), "derive": ("edge_all", "two")}
        choices |= {"resource_cells": RESOURCE_CELLS}
        check_choices(self, choices, "strategy.")
        ranges = {
            "clip_norm": (1e-12, LARGEST_FLOAT),
            "temperature": (1e-3, LARGEST_FLOAT),
            "temperature_min": (1e-3, LARGEST_FLOAT),
            "temperature_epochs": (1, LARGEST_INT),
            "resource_penalty": (0.0, LARGEST_FLOAT),
            "drop_path": (0.0, 0.99),
        }
        check_ranges(self, ranges, "strategy.")
        if self.alpha_optimizer == "sgd" and self.beta1 != BETA1:
            raise ValueError(
                f"strategy.beta1 is {self.beta1}, but SGD has no beta1: leave it out, "
                f"or set strategy.alpha_optimizer=adam."
            )
        if self.resource_cells != "counted" and self.resource_penalty == 0.0:
            raise ValueError(
                f"strategy.resource_cells is {self.resource_cells}, but there is no "
                f"resource term: leave it out, or set strategy.resource_penalty."
            )
        if self.temperature_min > self.temperature:
            raise ValueError(
                f"strategy.temperature_min is {self.temperature_min}, but must be at "
                f"most strategy.temperature, {self.temperature}."
            )

    @property
    def hyperparams(self) -> SNASHyperparams:
        """The numbers that affect no shape."""
        return SNASHyperparams(
            learning_rate=self.learning_rate,
            beta1=self.beta1,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            temperature=self.temperature,
            temperature_min=self.temperature_min,
            temperature_epochs=float(self.temperature_epochs),
        )
