"""Computes what CMA-ES with full and with diagonal covariance share: paths, step size.

Source: N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772. Numbers
in parentheses are its equations, and letters are its letters.
Dims: P population (the tutorial's lambda), n length of one solution.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from egnas_jax.types import Array, PyTree

# The package `cmaes` caps the step size at 1e32. In float32 it needs a floor too, or a
# run that converged long ago divides by zero.
SIGMA_MIN, SIGMA_MAX = 1e-32, 1e32


class Constants(NamedTuple):
    """Numbers that depend only on the dimension and the population size.

    Attributes:
      dim: n.
      mu: number of parents, the better half of the population.
      mu_eff: variance effective selection mass of the parents.
      weights: one per rank, best first, f64[P] or f64[mu]; the parents' sum to 1.
      c1: learning rate of the rank-one update.
      c_mu: learning rate of the rank-mu update.
      c_sigma: learning rate of the path for the step size.
      d_sigma: damping of the step size.
      c_c: learning rate of the path for the covariance.
      chi_n: expected length of a standard normal vector.
    """

    dim: int
    mu: int
    mu_eff: float
    weights: np.ndarray
    c1: float
    c_mu: float
    c_sigma: float
    d_sigma: float
    c_c: float
    chi_n: float


class Paths(NamedTuple):
    """Step size and evolution paths after a generation.

    Attributes:
      sigma: step size, f32[].
      p_sigma: path for the step size, f32[n].
      p_c: path for the covariance, f32[n].
      h_sigma: 0 if p_sigma is so long that p_c must not grow, else 1, f32[].
    """

    sigma: Array
    p_sigma: Array
    p_c: Array
    h_sigma: Array


def expected_length(dim: int) -> float:
    """E||N(0, I)|| in `dim` dimensions, by the tutorial's approximation."""
    return math.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim**2))


def damping(mu_eff: float, dim: int, c_sigma: float) -> float:
    """Damping of the step size, d_sigma of (55)."""
    return 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (dim + 1)) - 1) + c_sigma


def update_paths(
    constants: Constants, state: PyTree, y_w: Array, whitened: Array
) -> Paths:
    """Updates both evolution paths and the step size.

    Args:
      constants: of the strategy.
      state: before this generation; has sigma, p_sigma, p_c and generation.
      y_w: weighted mean step of the parents in units of sigma, f32[n].
      whitened: C^(-1/2) y_w, f32[n].
    """
    c_s, c_c, mu_eff = constants.c_sigma, constants.c_c, constants.mu_eff
    gain = math.sqrt(c_s * (2 - c_s) * mu_eff)
    p_sigma = (1 - c_s) * state.p_sigma + gain * whitened  # (43)
    length = jnp.sqrt(jnp.sum(p_sigma**2))
    growth = jnp.exp(c_s / constants.d_sigma * (length / constants.chi_n - 1))
    sigma = jnp.clip(state.sigma * growth, SIGMA_MIN, SIGMA_MAX)  # (44)
    # h_sigma is defined with (45). Its exponent is 2 (g + 1) in the tutorial, but
    # `cmaes` increments the generation g before it computes h_sigma.
    exponent = 2.0 * (state.generation + 2).astype(jnp.float32)
    stationary = jnp.sqrt(1 - (1 - c_s) ** exponent)
    limit = (1.4 + 2 / (constants.dim + 1)) * constants.chi_n
    h_sigma = jnp.where(length / stationary < limit, 1.0, 0.0)
    gain = math.sqrt(c_c * (2 - c_c) * mu_eff)
    p_c = (1 - c_c) * state.p_c + h_sigma * gain * y_w  # (45)
    return Paths(sigma, p_sigma, p_c, h_sigma)


def decay(constants: Constants, h_sigma: Array) -> Array:
    """Factor of the old covariance in (47), f32[].

    Where h_sigma is 0, p_c does not grow, and `delta` makes up for the lost variance.
    """
    delta = (1 - h_sigma) * constants.c_c * (2 - constants.c_c)
    weight_sum = float(np.sum(constants.weights))
    return 1 + constants.c1 * delta - constants.c1 - constants.c_mu * weight_sum
