"""What CMA-ES with a full and with a diagonal covariance share: paths and step size.

Source: Hansen, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772; "(n)" below
are its equations, as are the letters.
Dims: P population, D length of one solution.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from egnas_jax.types import Array, PyTree

# `cmaes` caps the step size at 1e32; float32 needs a floor too, or a run that has long
# converged divides by zero.
SIGMA_MIN, SIGMA_MAX = 1e-32, 1e32


class Constants(NamedTuple):
    """Numbers that follow from the dimension and the population size alone.

    Attributes:
      dim: D.
      mu: number of parents, the better half.
      mu_eff: variance effective selection mass of the parents.
      weights: one per rank, best first, f64[P] or f64[mu]; the parents' sum to 1.
      c1: learning rate of the rank-one update.
      c_mu: learning rate of the rank-mu update.
      c_sigma: learning rate of the path of the step size.
      d_sigma: damping of the step size.
      c_c: learning rate of the path of the covariance.
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
    """Outcome of one generation, covariance apart.

    Attributes:
      sigma: step size, f32[].
      p_sigma: path of the step size, f32[D].
      p_c: path of the covariance, f32[D].
      h_sigma: 0 where the path of the step size is too long, else 1, f32[].
    """

    sigma: Array
    p_sigma: Array
    p_c: Array
    h_sigma: Array


def expected_length(dim: int) -> float:
    """E||N(0, I)|| in `dim` dimensions, to second order (below (43))."""
    return math.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim**2))


def damping(mu_eff: float, dim: int, c_sigma: float) -> float:
    """Damping of the step size, d_sigma of (55)."""
    return 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (dim + 1)) - 1) + c_sigma


def update_paths(
    constants: Constants, state: PyTree, y_w: Array, whitened: Array
) -> Paths:
    """Cumulates the step of the mean and adapts the step size to its length.

    Args:
      constants: of the strategy.
      state: has sigma, p_sigma, p_c and generation, all before this generation.
      y_w: weighted mean step of the parents in units of sigma, f32[D].
      whitened: C^(-1/2) y_w, f32[D].
    """
    c_s, c_c, mu_eff = constants.c_sigma, constants.c_c, constants.mu_eff
    gain = math.sqrt(c_s * (2 - c_s) * mu_eff)
    p_sigma = (1 - c_s) * state.p_sigma + gain * whitened  # (43)
    length = jnp.sqrt(jnp.sum(p_sigma**2))
    growth = jnp.exp(c_s / constants.d_sigma * (length / constants.chi_n - 1))
    sigma = jnp.clip(state.sigma * growth, SIGMA_MIN, SIGMA_MAX)  # (44)
    # The package `cmaes` counts this generation in already, hence + 2 and not + 1.
    exponent = 2.0 * (state.generation + 2).astype(jnp.float32)
    stationary = jnp.sqrt(1 - (1 - c_s) ** exponent)
    limit = (1.4 + 2 / (constants.dim + 1)) * constants.chi_n
    h_sigma = jnp.where(length / stationary < limit, 1.0, 0.0)
    gain = math.sqrt(c_c * (2 - c_c) * mu_eff)
    p_c = (1 - c_c) * state.p_c + h_sigma * gain * y_w  # (45)
    return Paths(sigma, p_sigma, p_c, h_sigma)


def decay(constants: Constants, h_sigma: Array) -> Array:
    """Factor on the old covariance in (47), f32[].

    Where h_sigma stalls the path, `delta` makes up for the variance it lacks.
    """
    delta = (1 - h_sigma) * constants.c_c * (2 - constants.c_c)
    total = float(np.sum(constants.weights))
    return 1 + constants.c1 * delta - constants.c1 - constants.c_mu * total
