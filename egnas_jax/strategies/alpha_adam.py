"""Steps architecture parameters by Adam, as the DARTS family does.

Source: DARTS (Liu et al., ICLR 2019), architect.py: Adam with betas 0.5 and 0.999 and
epsilon 1e-8; the weight decay joins the gradient, as torch has it.
"""

from typing import Any

import flax.struct
import jax
import optax

from egnas_jax.settings import LARGEST_FLOAT, check_ranges
from egnas_jax.types import Array, PyTree


@flax.struct.dataclass
class AdamHyperparams:
    """The numbers of Adam.

    Attributes:
      learning_rate: of every step.
      beta1: decay of the mean of the gradients; that of their squares is 0.999.
      weight_decay: times the parameters, added to the gradient.
    """

    learning_rate: Array | float
    beta1: Array | float
    weight_decay: Array | float


def check_adam(config: Any) -> None:
    """Refuses settings of Adam that are out of their range.

    Args:
      config: a strategy's configuration with `learning_rate`, `beta1`, `weight_decay`.

    Raises:
      ValueError: a number out of its range.
    """
    ranges = {
        "learning_rate": (1e-12, LARGEST_FLOAT),
        "beta1": (0.0, 1.0),
        "weight_decay": (0.0, LARGEST_FLOAT),
    }
    check_ranges(config, ranges, "strategy.")
    if config.beta1 == 1:
        raise ValueError("strategy.beta1 is 1.0, but must be below 1.")


def adam(hyperparams: AdamHyperparams) -> optax.GradientTransformation:
    """Makes Adam with coupled decay; its state does not depend on the numbers."""
    return optax.chain(
        optax.add_decayed_weights(hyperparams.weight_decay),
        optax.adam(hyperparams.learning_rate, b1=hyperparams.beta1),
    )


def optimizer_step(
    optimizer: optax.GradientTransformation,
    gradient: PyTree,
    state: PyTree,
    parameters: PyTree,
) -> tuple[PyTree, PyTree]:
    """Takes one step.

    Args:
      optimizer: of the architecture parameters.
      gradient: a tree like `parameters`.
      state: of the optimizer.
      parameters: alphas and the like.

    Returns:
      The new parameters and the optimizer's new state.
    """
    # optax's Adam mixes its step counter with floats
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimizer.update(gradient, state, parameters)
    return optax.apply_updates(parameters, updates), state
