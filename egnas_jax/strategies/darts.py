"""First-order DARTS: alpha follows the gradient of the validation loss, every step.

Source: DARTS (Liu et al., ICLR 2019), first-order approximation; Adam(3e-4, betas
0.5 and 0.999) with coupled weight decay 1e-3.
"""

import dataclasses
from typing import NamedTuple

import jax
import optax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.search.strategy import Strategy
from egnas_jax.space import SPACES
from egnas_jax.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class DARTSConfig:
    """Attributes:
    learning_rate, beta1, weight_decay: of Adam on alpha.
    batch_size: validation images of one step.

    Raises:
      ValueError: a number out of its range.
    """

    learning_rate: float = 3e-4
    beta1: float = 0.5
    weight_decay: float = 1e-3
    batch_size: int = 64

    def __post_init__(self):
        if not (0 < self.learning_rate < float("inf") and 0 <= self.beta1 < 1):
            raise ValueError(
                f"strategy.learning_rate is {self.learning_rate} and strategy.beta1 "
                f"{self.beta1}; the first must be above 0, the second in [0, 1)."
            )
        if not 0 <= self.weight_decay < float("inf") or self.batch_size < 1:
            raise ValueError(
                f"strategy.weight_decay is {self.weight_decay} and strategy.batch_size "
                f"{self.batch_size}; they must be at least 0 and 1."
            )


class DARTSState(NamedTuple):
    """Attributes:
    alpha: cell kind -> f32[E, K].
    optimizer: Adam's state.
    """

    alpha: dict[str, Array]
    optimizer: PyTree


def darts(net: Supernet, config: DARTSConfig) -> Strategy:
    """First-order DARTS as a strategy of the search loop."""
    space = SPACES[net.config.space]
    optimizer = optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.adam(config.learning_rate, b1=config.beta1),
    )

    def init(key):
        alpha = unflatten(space, 1e-3 * jax.random.normal(key, (space.dim,)))
        return DARTSState(alpha, optimizer.init(alpha))

    def mixing(key, state):
        del key
        return softmax_mixing(state.alpha)

    def update(key, state, variables, train_batch, valid_batch):
        del key, train_batch  # first order: the weights stand still

        def network(alpha, variables):
            return variables, softmax_mixing(alpha)

        found, _ = batch_gradients(net, network, state.alpha, valid_batch, variables)
        gradient = found.sources
        # optax's Adam mixes its step counter with floats
        with jax.numpy_dtype_promotion("standard"):
            updates, moved = optimizer.update(gradient, state.optimizer, state.alpha)
        alpha = optax.apply_updates(state.alpha, updates)
        return DARTSState(alpha, moved), {}

    def incumbent(state):
        return softmax_mixing(state.alpha)

    return Strategy("step", init, mixing, update, incumbent, config.batch_size)
