"""Defines the ask-and-tell interface of all evolution strategies.

A strategy is a function of dimension and population size that returns an `Evolution`.
The functions of an `Evolution` are pure, so they work under `jit`, `scan` and `vmap`
(over independent runs). Lower fitness is better.
Dims: P population, D length of one solution.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.types import Array, PyTree

TellFn = Callable[[PyTree, Array, Array], PyTree]


class Evolution(NamedTuple):
    """One evolution strategy.

    Attributes:
      init: `(mean f32[D], sigma) -> state`, the initial search distribution.
      ask: `(key, state) -> f32[P, D]`, one generation of solutions.
      tell: `(state, solutions f32[P, D], fitness f32[P]) -> state`. The solutions need
        not come from `ask`. NaN and +inf rank last; if there is no other value, the
        state does not change.
      adapts_sigma: whether `tell` changes the step size, the state's `sigma`.
    """

    init: Callable[[Array, Array | float], PyTree]
    ask: Callable[[Array, PyTree], Array]
    tell: TellFn
    adapts_sigma: bool = True


def check_sizes(dim: int, population_size: int) -> None:
    """Refuses sizes that no strategy can work with.

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


def checked_start(mean: Array, sigma: Array | float, dim: int) -> tuple[Array, Array]:
    """Mean f32[D] and step size f32[] of the first generation, checked.

    Raises:
      ValueError: mean is not a vector of dim finite numbers, or sigma is no number that
        is finite and above 0. Traced values are not checked.
    """
    mean = jnp.asarray(mean, jnp.float32)
    if mean.shape != (dim,):
        raise ValueError(f"mean has shape {mean.shape}; this strategy takes ({dim},).")
    if not isinstance(mean, jax.core.Tracer) and not np.isfinite(mean).all():
        raise ValueError(f"mean is {mean}, but all its numbers must be finite.")
    is_traced = isinstance(sigma, jax.core.Tracer)
    if not is_traced and (isinstance(sigma, bool) or not 0 < sigma < np.inf):
        raise ValueError(f"sigma is {sigma}; a step size is finite and above 0.")
    return mean, jnp.asarray(sigma, jnp.float32)


def guarded(tell: TellFn, dim: int, population_size: int) -> TellFn:
    """A `tell` that checks shapes and keeps the state if no fitness can be ranked."""

    def checked_tell(state, solutions, fitness):
        chex.assert_shape(solutions, (population_size, dim))
        chex.assert_shape(fitness, (population_size,))
        # A single value below inf is enough; NaN compares as false.
        has_ranking = jnp.any(fitness < jnp.inf)
        choose = functools.partial(jnp.where, has_ranking)
        return jax.tree.map(choose, tell(state, solutions, fitness), state)

    return checked_tell
