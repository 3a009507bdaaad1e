"""Computes the largest eigenvalue of the validation loss's Hessian in alpha.

A large eigenvalue means that the step from alpha to a derived cell costs accuracy, so
its growth is an early sign of collapse. The weights are constant, and batch norms use
the statistics of the batch.

Source: RobustDARTS (Zela et al., ICLR 2020), which adds alpha's weight decay to the
diagonal; here it is the loss alone.

Dims: D flat length of all alphas, M directions, N images.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from egnas_jax.data.labels import checked_batch
from egnas_jax.nn.supernet import Supernet, make_supernet
from egnas_jax.search.relax import unflatten
from egnas_jax.search.strategy import Strategy
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Batch, PyTree

METHODS = ("off", "exact", "lanczos")
TOLERANCE = 1e-4  # of Lanczos, relative; float32 products are no more precise
# XLA's own convolutions: on a CPU the products of the digits preset trace and compile
# in 50 s (dense: 63 s), and with shifted slices, whose gradients are custom, in 280 s.
LOWERING = "grouped"


def check_alpha(strategy: Strategy) -> None:
    """Refuses a method whose state has no alpha to differentiate by.

    Raises:
      ValueError: the state of the method has no alpha.
    """
    state = jax.eval_shape(strategy.init, jax.random.key(0), strategy.hyperparams)
    if not hasattr(state, "alpha"):
        raise ValueError(
            "watch.eigenvalue asks for a Hessian in alpha, which this strategy does "
            "not have. Set watch.eigenvalue=off, or take one with alphas: darts, say."
        )


def twice_differentiable(net: Supernet, lowering: str = LOWERING) -> Supernet:
    """Returns the same network with kernels whose second derivatives compile quickly.

    Values and derivatives agree to rounding. A network with an `apply` of its own keeps
    it.

    Args:
      net: the supernet.
      lowering: of the kernels.
    """
    config = dataclasses.replace(net.config, lowering=lowering)
    is_own = net.apply is not make_supernet(net.config).apply
    return net._replace(
        config=config, apply=net.apply if is_own else make_supernet(config).apply
    )


def alpha_loss(
    net: Supernet, strategy: Strategy, variables: PyTree, batch: Batch, state: PyTree
) -> Callable[[Array], Array]:
    """Returns the validation loss as a function of alpha, f32[D] -> f32[].

    Args:
      net, strategy: the supernet (best `twice_differentiable`), and the method whose
        incumbent it is given.
      variables: weights and running statistics.
      batch: validation images.
      state: the method's state; it has an `alpha`.

    Raises:
      ValueError: a label that is not traced is outside 0 to num_classes - 1.
    """
    batch = checked_batch(batch, net.config.num_classes)
    space = SPACES[net.config.space]

    def loss(z: Array) -> Array:
        changed = dataclasses.replace(state, alpha=unflatten(space, z))
        mixing = strategy.incumbent(changed)
        logits, _ = net.apply(variables, batch.images, mixing, train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return jnp.mean(losses)

    return loss


def hessian_products(
    loss: Callable[[Array], Array], alpha: Array, directions: Array
) -> Array:
    """Multiplies the Hessian of a loss with directions, one after the other: [M, D].

    Reverse over reverse, because the kernels' custom gradients have no forward mode.
    Differences of gradients are no substitute: a network of ReLUs has kinks within any
    step that float32 resolves (measured on digits: off by 27 % and more).

    Args:
      loss: f32[D] -> f32[].
      alpha: where the Hessian is taken, f32[D].
      directions: f32[M, D].
    """

    def product(direction: Array) -> Array:
        return jax.grad(lambda z: jnp.vdot(jax.grad(loss)(z), direction))(alpha)

    return lax.map(product, directions)


def largest_eigenvalue(products: Callable, dim: int, method: str) -> float:
    """Computes the largest eigenvalue of a symmetric matrix from products with it.

    Args:
      products: directions f32[M, D] -> [M, D].
      dim: D.
      method: "exact", from all D products, or "lanczos", from a few tens of them.

    Returns:
      The algebraically largest eigenvalue; NaN where a product is not finite or Lanczos
      does not converge.
    """
    if method == "exact":
        rows = np.asarray(products(jnp.eye(dim)), np.float64)
        if not np.isfinite(rows).all():
            return float("nan")
        return float(np.linalg.eigvalsh((rows + rows.T) / 2)[-1])
    return _lanczos(products, dim)


def _lanczos(products: Callable, dim: int) -> float:
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    def product(vector):
        direction = jnp.asarray(vector, jnp.float32).reshape(1, dim)
        out = np.asarray(products(direction)[0], np.float64)
        if not np.isfinite(out).all():
            raise FloatingPointError
        return out

    # a fixed start, so that the same matrix gives the same value; not a constant one,
    # since the Hessian of a softmax maps constant rows to zero
    start = np.random.default_rng(0).standard_normal(dim)
    operator = LinearOperator((dim, dim), matvec=product, dtype=np.float64)
    try:
        eigenvalues = eigsh(
            operator,
            k=1,
            which="LA",
            v0=start,
            tol=TOLERANCE,
            return_eigenvectors=False,
        )
    except (ArpackError, FloatingPointError):
        return float("nan")
    return float(eigenvalues[0])
