"""CMA-ES with a full covariance matrix and negative recombination weights.

Told the same solutions, it agrees with `cmaes.CMA` in mean, sigma, C and both paths.
Source: Hansen, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772; "(n)" below
are its equations, as are the letters.
Dims: P population, D length of one solution.
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
from egnas_jax.evolution.base import Evolution, check_sizes, guarded, start
from egnas_jax.evolution.shaping import order
from egnas_jax.types import Array

EPS = 1e-8  # stands in for an eigenvalue that rounding made negative, as in `cmaes`


@flax.struct.dataclass
class CMAState:
    """What CMA-ES carries.

    Attributes:
      mean: of the search distribution, f32[D].
      sigma: overall step size, f32[].
      C: covariance of a step in units of sigma, f32[D, D], symmetric.
      p_sigma: path of the step size, f32[D].
      p_c: path of the covariance, f32[D].
      generation: number of generations told, i32[].
      axes: eigenvectors of C in columns, f32[D, D] (B of the tutorial).
      lengths: square roots of the eigenvalues of C, f32[D] (diagonal of its D).
    """

    mean: Array
    sigma: Array
    C: Array
    p_sigma: Array
    p_c: Array
    generation: Array
    axes: Array
    lengths: Array


def _selection_mass(weights) -> float:
    """Variance effective selection mass of some weights."""
    return float(np.sum(weights) ** 2 / np.sum(weights**2))


def _negative_mass(c1: float, c_mu: float, mu_eff: float, raw, dim: int) -> float:
    """What the weights of the worse half sum to, less the sign."""
    bounds = [1 + 2 * _selection_mass(raw) / (mu_eff + 2)]  # (51)
    if c_mu > 0:  # with one parent there is no rank-mu update to keep in bounds
        bounds += [1 + c1 / c_mu, (1 - c1 - c_mu) / (dim * c_mu)]  # (50), (52)
    return min(bounds)


def cma_constants(dim: int, population_size: int) -> Constants:
    """Constants of CMA-ES; the weights are f64[P], those of the worse half negative.

    Source: table 1 of the tutorial, with the rates as `cmaes` has them.
    """
    mu = population_size // 2
    raw = np.log((population_size + 1) / 2) - np.log(np.arange(1, population_size + 1))
    mu_eff = _selection_mass(raw[:mu])  # (49)
    c1 = 2 / ((dim + 1.3) ** 2 + mu_eff)  # (57)
    c_mu = 2 * (mu_eff - 2 + 1 / mu_eff) / ((dim + 2) ** 2 + mu_eff)
    c_mu = min(1 - c1 - 1e-8, c_mu)  # (58); 1e-8 is for very large populations
    negative = _negative_mass(c1, c_mu, mu_eff, raw[mu:], dim)
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
    """Covariance f32[D, D], its axes f32[D, D] and their lengths f32[D].

    The covariance comes back symmetric, and rebuilt where rounding had left an
    eigenvalue that is not positive.
    """
    C = (C + C.T) / 2
    values, axes = jnp.linalg.eigh(C)
    positive = jnp.where(values > 0, values, EPS)
    rebuilt = _matmul(axes * positive[None, :], axes.T)
    C = jnp.where(jnp.all(values > 0), C, rebuilt)
    return C, axes, jnp.sqrt(positive)


def _matmul(a, b):
    """Product in full float32, which accelerators leave by default."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def cma_es(dim: int, population_size: int) -> Evolution:
    """CMA-ES.

    The eigendecomposition sits in `tell`, so that a fresh state asks without one and a
    `tell` whose outcome nobody reads costs nothing under `jit`.

    Args:
      dim: D.
      population_size: P, 2 or more.

    Raises:
      ValueError: dim is below 1 or population_size below 2.
    """
    check_sizes(dim, population_size)
    constants = cma_constants(dim, population_size)
    weights = jnp.asarray(constants.weights, jnp.float32)

    def init(mean, sigma):
        mean, sigma = start(mean, sigma, dim)
        zero, eye = jnp.zeros(dim, jnp.float32), jnp.eye(dim, dtype=jnp.float32)
        return CMAState(
            mean=mean,
            sigma=sigma,
            C=eye,
            p_sigma=zero,
            p_c=zero,
            generation=jnp.zeros((), jnp.int32),
            axes=eye,
            lengths=jnp.ones_like(zero),
        )

    def ask(key, state):
        z = jax.random.normal(key, (population_size, dim))  # (38)
        # (39), with the symmetric root B D B^T: the same law as B D, but near C = I the
        # axes B are arbitrary, and rounding alone would choose other individuals
        rotated = _matmul(z, state.axes) * state.lengths[None, :]
        y = _matmul(rotated, state.axes.T)
        return state.mean[None, :] + state.sigma * y  # (40)

    def tell(state, solutions, fitness):
        ranked = solutions[order(fitness)]
        y = (ranked - state.mean[None, :]) / state.sigma
        # C^(-1/2) y up to a rotation, which neither a norm nor the way back minds.
        rotated = _matmul(y, state.axes) / state.lengths[None, :]
        parents = weights[: constants.mu]
        y_w = _matmul(parents, y[: constants.mu])  # (41)
        whitened = _matmul(state.axes, _matmul(parents, rotated[: constants.mu]))
        paths = update_paths(constants, state, y_w, whitened)
        # (46): a bad step counts by its direction, whatever its length.
        shrink = dim / (jnp.sum(rotated**2, axis=1) + EPS)
        per_step = weights * jnp.where(weights >= 0, 1.0, shrink)
        C, axes, lengths = decompose(
            decay(constants, paths.h_sigma) * state.C
            + constants.c1 * jnp.outer(paths.p_c, paths.p_c)
            + constants.c_mu * _matmul(per_step[None, :] * y.T, y)
        )  # (47)
        return CMAState(
            mean=state.mean + state.sigma * y_w,  # (42), c_m = 1
            sigma=paths.sigma,
            C=C,
            p_sigma=paths.p_sigma,
            p_c=paths.p_c,
            generation=state.generation + 1,
            axes=axes,
            lengths=lengths,
        )

    return Evolution(init, ask, guarded(tell, dim, population_size))
