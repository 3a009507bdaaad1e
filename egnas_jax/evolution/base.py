"""Ask and tell over flat vectors: what every evolution strategy here offers.

A strategy is a factory of dimension and population size that returns an `Evolution`.
Its functions are pure, so they go through `jit`, `vmap` (over independent runs) and
`scan`; lower fitness is better. Nothing here knows of architectures.
Dims: P population, D length of one solution.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from egnas_jax.types import Array, PyTree

TellFn = Callable[[PyTree, Array, Array], PyTree]


class Evolution(NamedTuple):
    """One evolution strategy.

    Attributes:
      init: `(mean f32[D], sigma) -> state`, the search distribution to begin with.
      ask: `(key, state) -> f32[P, D]`, one generation of solutions.
      tell: `(state, solutions f32[P, D], fitness f32[P]) -> state`. The solutions may
        come from elsewhere than `ask`. NaN and +inf rank last; a generation without a
        single other value leaves the state as it was.
    """

    init: Callable[[Array, Array | float], PyTree]
    ask: Callable[[Array, PyTree], Array]
    tell: TellFn


def check_sizes(dim: int, population_size: int) -> None:
    """Refuses what no strategy can work with.

    Raises:
      ValueError: dim is below 1 or population_size below 2.
    """
    if dim < 1:
        raise ValueError(f"dim is {dim}; a solution needs at least 1 number.")
    if population_size < 2:
        raise ValueError(
            f"population_size is {population_size}; a generation needs at least 2 "
            f"individuals, or there is nothing to rank."
        )


def start(mean: Array, sigma: Array | float, dim: int) -> tuple[Array, Array]:
    """Mean f32[D] and step size f32[] of a first generation.

    Raises:
      ValueError: mean is not a vector of dim numbers, or sigma is a Python number
        that is not above 0 (a traced sigma cannot be looked at).
    """
    mean = jnp.asarray(mean, jnp.float32)
    if mean.shape != (dim,):
        raise ValueError(f"mean has shape {mean.shape}; this strategy takes ({dim},).")
    if isinstance(sigma, (int, float)) and not 0 < sigma < float("inf"):
        raise ValueError(f"sigma is {sigma}; a step size is finite and above 0.")
    return mean, jnp.asarray(sigma, jnp.float32)


def guarded(tell: TellFn, dim: int, population_size: int) -> TellFn:
    """`tell` that checks shapes and keeps the state where nothing could be ranked."""

    def checked_tell(state, solutions, fitness):
        chex.assert_shape(solutions, (population_size, dim))
        chex.assert_shape(fitness, (population_size,))
        # One finite value is a ranking; NaN compares as false.
        ranked = jnp.any(fitness < jnp.inf)
        keep = functools.partial(jnp.where, ranked)
        return jax.tree.map(keep, tell(state, solutions, fitness), state)

    return checked_tell
