"""Implements crossover and mutation of vectors of bounded integers.

Source: the integer operators of pymoo 0.3.0, which NSGA-Net (Lu et al., GECCO 2019)
uses: two-point crossover and Deb's polynomial mutation, rounded.

Dims: D length of one solution.
"""

import jax
import jax.numpy as jnp

from egnas_jax.types import Array, Key

ETA = 3.0  # distribution index of NSGA-Net: small, so that far values are common


def random_integers(key: Key, upper: Array) -> Array:
    """Uniform integers from 0 to `upper` i32[D], both included."""
    return jax.random.randint(key, upper.shape, 0, upper + 1)


def two_point_crossover(first: Array, second: Array, cuts: Array) -> Array:
    """Two children i32[2, D] of two parents i32[D], whose middle parts are swapped.

    Args:
      first, second: the parents.
      cuts: i32[2], ascending; positions from the first to before the second swap.
    """
    position = jnp.arange(len(first))
    swapped = (position >= cuts[0]) & (position < cuts[1])
    return jnp.stack(
        [jnp.where(swapped, second, first), jnp.where(swapped, first, second)]
    )


def random_cuts(key: Key, dim: int) -> Array:
    """Two different cuts from 1 to D - 1 in ascending order, i32[2]."""
    return jnp.sort(1 + jax.random.permutation(key, dim - 1)[:2])


def polynomial_mutation(
    solution: Array, upper: Array, gate: Array, uniform: Array, *, eta: float = ETA
) -> Array:
    """Moves each position with probability 1 / D by a polynomial distribution.

    The bounds are -0.5 and upper + 0.5, and the result is rounded, half to even, so
    that all integers have a share of the distribution.

    Args:
      solution: i32[D], from 0 to `upper`.
      upper: i32[D].
      gate, uniform: f[D] in [0, 1): whether a position moves, and how far.
      eta: distribution index; larger values stay nearer.
    """
    value, high = solution.astype(uniform.dtype), upper.astype(uniform.dtype)
    span = high + 1
    from_low, from_high = (value + 0.5) / span, (high + 0.5 - value) / span
    power = eta + 1
    down = 2 * uniform + (1 - 2 * uniform) * (1 - from_low) ** power
    up = 2 * (1 - uniform) + 2 * (uniform - 0.5) * (1 - from_high) ** power
    move = jnp.where(uniform <= 0.5, down ** (1 / power) - 1, 1 - up ** (1 / power))
    moved = jnp.round(value + move * span).astype(solution.dtype)
    return jnp.where(gate < 1 / len(solution), jnp.clip(moved, 0, upper), solution)
