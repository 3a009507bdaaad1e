"""Separable CMA-ES: a diagonal covariance, whose learning rate is (n + 2) / 3 as large.

Given the same solutions, it agrees with `cmaes.SepCMA`. As in that package, the factor
applies to the rank-mu update only, and the learning rate of the rank-one update is that
of the tutorial.

Sources: Ros and Hansen, A Simple Modification in CMA-ES Achieving Linear Time and
Space Complexity, PPSN 2008; N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv
1604.00772. Numbers in parentheses are equations of the tutorial.
Dims: P population (the tutorial's lambda), n length of one solution.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.evolution.adaptation import (
    Constants,
    damping,
    decay,
    expected_length,
    update_paths,
)
from egnas_jax.evolution.base import Evolution, check_sizes, checked_start, guarded
from egnas_jax.evolution.shaping import order
from egnas_jax.types import Array


@flax.struct.dataclass
class SepCMAState:
    """The search distribution N(mean, sigma^2 diag(C)) and the evolution paths.

    Attributes:
      mean: f32[n].
      sigma: overall step size, f32[].
      C: variances of a step in units of sigma, f32[n].
      p_sigma: path for the step size, f32[n].
      p_c: path for the covariance, f32[n].
      generation: number of generations so far, i32[].
    """

    mean: Array
    sigma: Array
    C: Array
    p_sigma: Array
    p_c: Array
    generation: Array


def sep_cma_constants(dim: int, population_size: int) -> Constants:
    """Constants of separable CMA-ES; the weights are f64[mu], all positive."""
    mu = population_size // 2
    raw = np.log(mu + 1) - np.log(np.arange(1, mu + 1))
    weights = raw / np.sum(raw)
    mu_eff = float(1 / np.sum(weights**2))
    c1 = 2 / ((dim + 1.3) ** 2 + mu_eff)  # (57)
    c_full = 2 / mu_eff / (dim + math.sqrt(2)) ** 2
    c_full += (1 - 1 / mu_eff) * min(1.0, (2 * mu_eff - 1) / ((dim + 2) ** 2 + mu_eff))
    c_sigma = (mu_eff + 2) / (dim + mu_eff + 3)
    return Constants(
        dim=dim,
        mu=mu,
        mu_eff=mu_eff,
        weights=weights,
        c1=c1,
        # Above 1 - c1, variances could become negative. Few dimensions with many
        # individuals would lead there.
        c_mu=min(1 - c1, (dim + 2) / 3 * c_full),
        c_sigma=c_sigma,
        d_sigma=damping(mu_eff, dim, c_sigma),
        c_c=4 / (dim + 4),
        chi_n=expected_length(dim),
    )


def sep_cma_es(dim: int, population_size: int) -> Evolution:
    """Separable CMA-ES, which needs no eigendecomposition and learns no correlations.

    Args:
      dim: n.
      population_size: P, 2 or more.

    Raises:
      ValueError: dim is below 1 or population_size below 2.
    """
    check_sizes(dim, population_size)
    constants = sep_cma_constants(dim, population_size)
    weights = jnp.asarray(constants.weights, jnp.float32)

    def init(mean, sigma):
        mean, sigma = checked_start(mean, sigma, dim)
        zero = jnp.zeros(dim, jnp.float32)
        return SepCMAState(
            mean=mean,
            sigma=sigma,
            C=jnp.ones_like(zero),
            p_sigma=zero,
            p_c=zero,
            generation=jnp.zeros((), jnp.int32),
        )

    def ask(key, state):
        z = jax.random.normal(key, (population_size, dim))
        scale = state.sigma * jnp.sqrt(state.C)
        return state.mean[None, :] + scale[None, :] * z

    def tell(state, solutions, fitness):
        parents = solutions[order(fitness)[: constants.mu]]
        y = (parents - state.mean[None, :]) / state.sigma
        y_w = jnp.sum(weights[:, None] * y, axis=0)  # (41)
        paths = update_paths(constants, state, y_w, y_w / jnp.sqrt(state.C))
        C = (
            decay(constants, paths.h_sigma) * state.C
            + constants.c1 * paths.p_c**2
            + constants.c_mu * jnp.sum(weights[:, None] * y**2, axis=0)
        )  # diagonal of (47)
        return SepCMAState(
            mean=state.mean + state.sigma * y_w,  # (42), with c_m = 1
            sigma=paths.sigma,
            C=jnp.maximum(C, jnp.finfo(jnp.float32).tiny),
            p_sigma=paths.p_sigma,
            p_c=paths.p_c,
            generation=state.generation + 1,
        )

    return Evolution(init, ask, guarded(tell, dim, population_size))
