"""Implements first-order DARTS: alpha follows the validation loss's gradient each step.

Source: DARTS (Liu et al., ICLR 2019), first-order approximation; Adam(3e-4, betas
0.5 and 0.999) with coupled weight decay 1e-3.
"""

import dataclasses
from typing import ClassVar

import flax.struct
import jax
import optax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.search.strategy import Strategy, Trainee
from egnas_jax.settings import LARGEST_FLOAT, LARGEST_INT, check_ranges
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree


@flax.struct.dataclass
class DARTSHyperparams:
    """The numbers of Adam on alpha; `DARTSConfig` says what they are."""

    learning_rate: Array | float
    beta1: Array | float
    weight_decay: Array | float


@dataclasses.dataclass(frozen=True)
class DARTSConfig:
    """The settings of first-order DARTS.

    Attributes:
      learning_rate, beta1, weight_decay: of Adam on alpha.
      batch_size: validation images of one step.

    Raises:
      ValueError: a number out of its range.
    """

    learning_rate: float = 3e-4
    beta1: float = 0.5
    weight_decay: float = 1e-3
    batch_size: int = 64

    warmup: ClassVar[int] = 0
    individuals: ClassVar[None] = None

    def __post_init__(self):
        ranges = {
            "learning_rate": (1e-12, LARGEST_FLOAT),
            "beta1": (0.0, 1.0),
            "weight_decay": (0.0, LARGEST_FLOAT),
            "batch_size": (1, LARGEST_INT),
        }
        check_ranges(self, ranges, "strategy.")
        if self.beta1 == 1:
            raise ValueError("strategy.beta1 is 1.0, but must be below 1.")

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one update."""
        return self.batch_size

    @property
    def hyperparams(self) -> DARTSHyperparams:
        """The numbers that affect no shape."""
        return DARTSHyperparams(self.learning_rate, self.beta1, self.weight_decay)


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
    """Makes first-order DARTS a strategy of the search loop."""
    space = SPACES[net.config.space]

    def init(key: Key, hyperparams: DARTSHyperparams) -> DARTSState:
        alpha = unflatten(space, 1e-3 * jax.random.normal(key, (space.dim,)))
        return DARTSState(alpha, _optimizer(hyperparams).init(alpha))

    def mixing(key: Key, state: DARTSState) -> Mixing:
        del key
        return softmax_mixing(state.alpha)

    def update(
        key: Key,
        state: DARTSState,
        hyperparams: DARTSHyperparams,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
    ) -> tuple[DARTSState, dict[str, Array]]:
        del key, train_batch  # first order: the weights do not move

        def network(alpha, variables):
            return variables, softmax_mixing(alpha)

        gradients, _ = batch_gradients(
            net, network, state.alpha, valid_batch, trainee.variables
        )
        # optax's Adam mixes its step counter with floats
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer = _optimizer(hyperparams).update(
                gradients.sources, state.optimizer, state.alpha
            )
        return DARTSState(optax.apply_updates(state.alpha, updates), optimizer), {}

    def incumbent(state: DARTSState) -> Mixing:
        return softmax_mixing(state.alpha)

    return Strategy(
        update_every="step",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=config.hyperparams,
    )


def _optimizer(hyperparams: DARTSHyperparams) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(hyperparams.weight_decay),
        optax.adam(hyperparams.learning_rate, b1=hyperparams.beta1),
    )
