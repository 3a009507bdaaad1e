"""Says what EG-NAS is in a space: its options, and the numbers that may be traced."""

from typing import NamedTuple

import jax.numpy as jnp

from egnas_jax.space import Space
from egnas_jax.strategies.egnas.config import EGNASConfig, EGNASHyperparams
from egnas_jax.strategies.egnas.state import EGNASState
from egnas_jax.strategies.limits.costs import ExcessFn


class EGNAS(NamedTuple):
    """EG-NAS in a space.

    Attributes:
      space: of the cells.
      config: the static options; another one is another program.
      hyperparams: the numbers that may be traced; all values share one program.
      excess: how far a cell is over the limits, or None without a limit.
    """

    space: Space
    config: EGNASConfig
    hyperparams: EGNASHyperparams
    excess: ExcessFn | None = None


def with_eta(method: EGNAS, state: EGNASState) -> EGNAS:
    """Returns the method with the weight of L2 that its next exploration has.

    Args:
      method: space, options and numbers.
      state: before the exploration.
    """
    if method.config.eta_schedule == "constant":
        return method
    eta = method.hyperparams.eta / (state.updates + 1).astype(jnp.float32)
    return method._replace(hyperparams=method.hyperparams.replace(eta=eta))
