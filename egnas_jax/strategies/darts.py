"""Implements DARTS: alpha follows the validation loss's gradient each step.

The first order takes the weights as constant; the second differentiates through the
next weight step (strategies/second_order.py).

Source: DARTS (Liu et al., ICLR 2019); Adam(3e-4, betas 0.5 and 0.999) with coupled
weight decay 1e-3.
"""

import dataclasses
import functools
from typing import ClassVar

import flax.struct

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.cost import FORWARD_BACKWARD, Passes
from egnas_jax.search.gradients import alpha_gradient
from egnas_jax.search.relax import initial_alpha, softmax_mixing
from egnas_jax.search.strategy import Strategy, Trainee
from egnas_jax.settings import LARGEST_INT, check_choices, check_ranges
from egnas_jax.space import SPACES
from egnas_jax.strategies.alpha_adam import (
    AdamHyperparams,
    adam,
    check_adam,
    optimizer_step,
)
from egnas_jax.strategies.second_order import (
    FORMS,
    SECOND_ORDER,
    second_order_gradient,
)
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree

FIRST_ORDER = Passes(valid=FORWARD_BACKWARD)


@dataclasses.dataclass(frozen=True)
class DARTSConfig:
    """The settings of DARTS.

    Attributes:
      learning_rate, beta1, weight_decay: of Adam on alpha.
      batch_size: validation images of one step.
      second_order: "off" is the first order; "exact" differentiates through the weight
        step; "finite_difference" is what the reference computes, another method.

    Raises:
      ValueError: a number out of its range, or an unknown choice.
    """

    learning_rate: float = 3e-4
    beta1: float = 0.5
    weight_decay: float = 1e-3
    batch_size: int = 64
    second_order: str = "off"

    warmup: ClassVar[int] = 0
    individuals: ClassVar[None] = None

    def __post_init__(self):
        check_adam(self)
        check_ranges(self, {"batch_size": (1, LARGEST_INT)}, "strategy.")
        check_choices(self, {"second_order": ("off", *FORMS)}, "strategy.")

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one update."""
        return self.batch_size

    @property
    def hyperparams(self) -> AdamHyperparams:
        """The numbers that affect no shape."""
        return AdamHyperparams(self.learning_rate, self.beta1, self.weight_decay)


@flax.struct.dataclass
class DARTSState:
    """What DARTS carries.

    Attributes:
      alpha: cell kind -> f32[E, K].
      optimizer: Adam's state.
    """

    alpha: dict[str, Array]
    optimizer: PyTree


def darts(net: Supernet, config: DARTSConfig) -> Strategy:
    """Makes DARTS a strategy of the search loop.

    Raises:
      ValueError: it takes differences of gradients that are rounded to bfloat16.
    """
    space = SPACES[net.config.space]
    if config.second_order == "finite_difference" and net.config.dtype == "bfloat16":
        raise ValueError(
            "strategy.second_order is finite_difference, but supernet.dtype is "
            "bfloat16, whose rounding errors are larger than the differences. Set "
            "supernet.dtype=float32."
        )

    def init(key: Key, hyperparams: AdamHyperparams) -> DARTSState:
        alpha = initial_alpha(key, space)
        return DARTSState(alpha, adam(hyperparams).init(alpha))

    def mixing(key: Key, state: DARTSState) -> Mixing:
        del key
        return softmax_mixing(state.alpha, space)

    def update(
        key: Key,
        state: DARTSState,
        hyperparams: AdamHyperparams,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
    ) -> tuple[DARTSState, dict[str, Array]]:
        if config.second_order == "off":
            relax = functools.partial(softmax_mixing, space=space)
            arguments = relax, state.alpha, trainee.variables, valid_batch
            gradient = alpha_gradient(net, *arguments, key=key)
        else:
            batches = {"train_batch": train_batch, "valid_batch": valid_batch}
            arguments = config.second_order, state.alpha, trainee
            gradient = second_order_gradient(net, *arguments, **batches, key=key)
        alpha, optimizer = optimizer_step(
            adam(hyperparams), gradient, state.optimizer, state.alpha
        )
        return DARTSState(alpha, optimizer), {}

    def incumbent(state: DARTSState) -> Mixing:
        return softmax_mixing(state.alpha, space)

    return Strategy(
        update_every="step",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=config.hyperparams,
        passes=FIRST_ORDER if config.second_order == "off" else SECOND_ORDER,
    )
