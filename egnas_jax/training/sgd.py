"""Trains weights by stochastic gradient descent as torch does it.

Source: torch.optim.SGD with weight decay and momentum, gradients clipped by their
global norm, the learning rate on a cosine per epoch.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import optax
from jax.flatten_util import ravel_pytree

from egnas_jax.nn import lowering
from egnas_jax.types import Array, PyTree


class SGD(NamedTuple):
    """Hyperparameters of SGD on the weights.

    Attributes:
      batch_size: images B of a step.
      learning_rate: of the first epoch, falling to `learning_rate_min` by a cosine.
      learning_rate_min: the learning rate at the end of the last epoch.
      momentum, weight_decay: of SGD.
      clip_norm: largest norm of a gradient.
      epochs: length of the cosine.
      nesterov: whether the step is along the gradient plus momentum times the buffer
        after its move, as in torch.
    """

    batch_size: int
    learning_rate: float
    learning_rate_min: float
    momentum: float
    weight_decay: float
    clip_norm: float
    epochs: int
    nesterov: bool = False


def check_rates(learning_rate: float, learning_rate_min: float) -> None:
    """Refuses a learning rate that would rise to its minimum.

    Raises:
      ValueError: the minimum is the larger one.
    """
    if learning_rate_min > learning_rate:
        raise ValueError(
            f"learning_rate_min is {learning_rate_min}, but must be at most "
            f"learning_rate, {learning_rate}: the rate falls to it."
        )


def learning_rate(sgd: SGD, epoch: int) -> float:
    """Returns the learning rate of an epoch, counted from 0."""
    span = sgd.learning_rate - sgd.learning_rate_min
    cosine = math.cos(math.pi * epoch / sgd.epochs)
    return sgd.learning_rate_min + span * (1 + cosine) / 2


def make_optimizer(sgd: SGD, rate: Array | float) -> optax.GradientTransformation:
    """Makes SGD as torch has it: weight decay joins the gradient before the momentum.

    Gradients are clipped before. `rate` changes between epochs, so the optimizer is
    made where it is used; its state does not depend on it.
    """
    return optax.chain(
        optax.add_decayed_weights(sgd.weight_decay),
        optax.sgd(rate, momentum=sgd.momentum, nesterov=sgd.nesterov),
    )


def clip(gradients: PyTree, norm: Array | float) -> PyTree:
    """Scales gradients so that their joint norm is at most `norm`.

    Args:
      gradients: any tree of floats of one dtype.
      norm: the largest norm, f32[].
    """
    pack, unpack = packing(gradients, lowering.rules_for().joint_clipping)
    clipping = optax.clip_by_global_norm(norm)
    clipped, _ = clipping.update(pack(gradients), clipping.init(gradients))
    return unpack(clipped)


def packing(params: PyTree, one_vector: bool) -> tuple[Callable, Callable]:
    """Returns the functions between trees like the weights and what SGD computes with.

    Leaf by leaf, an update takes three kernels a leaf. A small network has hundreds of
    leaves, and its kernels take longer to compile than to run. An update of one vector
    takes one kernel, and one a leaf to add its part.

    Args:
      params: weights, or their shapes.
      one_vector: whether SGD computes with a vector of all weights, or with the tree.

    Returns:
      pack: tree -> what `make_optimizer` computes with, and `init` is given.
      unpack: its inverse.
    """
    if not one_vector:
        return _same, _same
    _, unpack = ravel_pytree(params)
    return lambda tree: ravel_pytree(tree)[0], unpack


def _same(tree: PyTree) -> PyTree:
    return tree


def momentum_of(optimizer_state: PyTree) -> PyTree:
    """Returns the momentum in a state of `make_optimizer`, in SGD's own form."""
    return optax.tree_utils.tree_get(optimizer_state, "trace")
