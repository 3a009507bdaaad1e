"""CMA-ES with a full covariance matrix and negative recombination weights.

The code follows N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772.
Numbers in parentheses are its equations, and letters are its letters: a step y has the
distribution N(0, C), and C = B D^2 B^T with eigenvectors B and standard deviations D.
Given the same solutions, it agrees with `cmaes.CMA` in mean, sigma, C and both paths.

Dims: P population (the tutorial's lambda), n length of one solution.
"""

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

EPS = 1e-8  # replaces eigenvalues that are negative by rounding, as in `cmaes`


@flax.struct.dataclass
class CMAState:
    """The search distribution N(mean, sigma^2 C) and the evolution paths.

    Attributes:
      mean: f32[n].
      sigma: overall step size, f32[].
      C: covariance of a step in units of sigma, f32[n, n], symmetric.
      p_sigma: path for the step size, f32[n].
      p_c: path for the covariance, f32[n].
      generation: number of generations so far, i32[].
      B: eigenvectors of C in columns, f32[n, n].
      D: square roots of the eigenvalues of C, f32[n] (the tutorial's diagonal matrix).
    """

    mean: Array
    sigma: Array
    C: Array
    p_sigma: Array
    p_c: Array
    generation: Array
    B: Array
    D: Array


def _selection_mass(weights) -> float:
    """Variance effective selection mass, (sum w)^2 / sum w^2."""
    return float(np.sum(weights) ** 2 / np.sum(weights**2))


def _negative_weight_sum(c1, c_mu, mu_eff, mu_eff_minus, dim) -> float:
    """Absolute value of the sum of all negative weights: the least of three bounds.

    The bounds keep the covariance positive definite, see (50) to (52).
    """
    bounds = [1 + 2 * mu_eff_minus / (mu_eff + 2)]  # (51)
    if c_mu > 0:  # a single parent has no rank-mu update, and needs no other bounds
        bounds += [1 + c1 / c_mu, (1 - c1 - c_mu) / (dim * c_mu)]  # (50), (52)
    return min(bounds)


def cma_constants(dim: int, population_size: int) -> Constants:
    """Constants of CMA-ES, with weights f64[P] that are negative in the worse half.

    Source: table 1 of the tutorial, with the learning rates as in `cmaes`.
    """
    mu = population_size // 2
    ranks = np.arange(1, population_size + 1)
    raw = np.log((population_size + 1) / 2) - np.log(ranks)  # (49), w'
    mu_eff, mu_eff_minus = _selection_mass(raw[:mu]), _selection_mass(raw[mu:])
    c1 = 2 / ((dim + 1.3) ** 2 + mu_eff)  # (57)
    c_mu = 2 * (mu_eff - 2 + 1 / mu_eff) / ((dim + 2) ** 2 + mu_eff)
    c_mu = min(1 - c1 - 1e-8, c_mu)  # (58); 1e-8 matters for very large populations
    negative = _negative_weight_sum(c1, c_mu, mu_eff, mu_eff_minus, dim)
    up, down = np.sum(raw[raw > 0]), -np.sum(raw[raw < 0])
    weights = np.where(raw >= 0, raw / up, raw * negative / down)  # (53)
    c_sigma = (mu_eff + 2) / (dim + mu_eff + 5)  # (55)
    return Constants(
        dim=dim,
        mu=mu,
        mu_eff=mu_eff,
        weights=weights,
        c1=c1,
        c_mu=c_mu,
        c_sigma=c_sigma,
        d_sigma=damping(mu_eff, dim, c_sigma),
        c_c=(4 + mu_eff / dim) / (dim + 4 + 2 * mu_eff / dim),  # (56)
        chi_n=expected_length(dim),
    )


def decompose(C: Array) -> tuple[Array, Array, Array]:
    """Eigendecomposition of a covariance f32[n, n].

    Returns:
      C, made symmetric, and recomputed from the decomposition if rounding had made an
      eigenvalue negative; B f32[n, n]; D f32[n].
    """
    C = (C + C.T) / 2
    eigenvalues, B = jnp.linalg.eigh(C)
    positive = jnp.where(eigenvalues > 0, eigenvalues, EPS)
    recomputed = _matmul(B * positive[None, :], B.T)
    C = jnp.where(jnp.all(eigenvalues > 0), C, recomputed)
    return C, B, jnp.sqrt(positive)


def _matmul(a, b):
    """Matrix product in full float32, which is not the default on accelerators."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def cma_es(dim: int, population_size: int) -> Evolution:
    """CMA-ES.

    The eigendecomposition is in `tell`: a new state needs none for its first `ask`, and
    under `jit` a `tell` whose result is not used costs nothing.

    Args:
      dim: n.
      population_size: P, 2 or more.

    Raises:
      ValueError: dim is below 1 or population_size below 2.
    """
    check_sizes(dim, population_size)
    constants = cma_constants(dim, population_size)
    weights = jnp.asarray(constants.weights, jnp.float32)

    def init(mean, sigma):
        mean, sigma = checked_start(mean, sigma, dim)
        zero, eye = jnp.zeros(dim, jnp.float32), jnp.eye(dim, dtype=jnp.float32)
        return CMAState(
            mean=mean,
            sigma=sigma,
            C=eye,
            p_sigma=zero,
            p_c=zero,
            generation=jnp.zeros((), jnp.int32),
            B=eye,
            D=jnp.ones_like(zero),
        )

    def ask(key, state):
        z = jax.random.normal(key, (population_size, dim))  # (38)
        # (39) is y = B D z. The symmetric root B D B^T gives the same distribution, and
        # its samples do not depend on B, which rounding decides where C is nearly I.
        y = _matmul(_matmul(z, state.B) * state.D[None, :], state.B.T)
        return state.mean[None, :] + state.sigma * y  # (40)

    def tell(state, solutions, fitness):
        # Selection and recombination
        y = (solutions[order(fitness)] - state.mean[None, :]) / state.sigma
        # D^-1 B^T y. This is C^(-1/2) y = B D^-1 B^T y without the rotation by B, which
        # does not change lengths and is applied to the weighted sum below.
        rotated = _matmul(y, state.B) / state.D[None, :]
        parents = weights[: constants.mu]
        y_w = _matmul(parents, y[: constants.mu])  # (41)
        # Step-size control
        whitened = _matmul(state.B, _matmul(parents, rotated[: constants.mu]))
        paths = update_paths(constants, state, y_w, whitened)  # (43), (44), (45)
        # Covariance matrix adaptation. In (46), a step with a negative weight is scaled
        # to length sqrt(n) in whitened coordinates, so only its direction counts.
        scale = dim / (jnp.sum(rotated**2, axis=1) + EPS)
        w = weights * jnp.where(weights >= 0, 1.0, scale)  # (46)
        C, B, D = decompose(
            decay(constants, paths.h_sigma) * state.C
            + constants.c1 * jnp.outer(paths.p_c, paths.p_c)
            + constants.c_mu * _matmul(w[None, :] * y.T, y)
        )  # (47)
        return CMAState(
            mean=state.mean + state.sigma * y_w,  # (42), with c_m = 1
            sigma=paths.sigma,
            C=C,
            p_sigma=paths.p_sigma,
            p_c=paths.p_c,
            generation=state.generation + 1,
            B=B,
            D=D,
        )

    return Evolution(init, ask, guarded(tell, dim, population_size))
