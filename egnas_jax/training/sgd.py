"""Stochastic gradient descent as torch does it, and the random streams of a run."""

import math
import zlib
from typing import NamedTuple

import jax
import optax

from egnas_jax.types import IMPL, Array, Key


class SGD(NamedTuple):
    """How the weights are trained.

    Attributes:
      batch_size: images B of a step.
      learning_rate: of the first epoch, falling to `learning_rate_min` by a cosine.
      learning_rate_min: at the end.
      momentum, weight_decay: of SGD.
      clip_norm: largest norm of a gradient.
      epochs: length of the cosine.
    """

    batch_size: int
    learning_rate: float
    learning_rate_min: float
    momentum: float
    weight_decay: float
    clip_norm: float
    epochs: int


class Pixels(NamedTuple):
    """A part of the data on the device: images u8 [N, H, W, C], labels i32 [N]."""

    images: Array
    labels: Array


def stream(seed: int | Array, name: str) -> Key:
    """The key of one named purpose: adding a purpose shifts no other."""
    key = jax.random.key(seed, impl=IMPL)
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def learning_rate(sgd: SGD, epoch: int) -> float:
    """The learning rate of an epoch counted from 0."""
    span = sgd.learning_rate - sgd.learning_rate_min
    cosine = math.cos(math.pi * epoch / sgd.epochs)
    return sgd.learning_rate_min + span * (1 + cosine) / 2


def make_optimizer(sgd: SGD, rate: Array | float) -> optax.GradientTransformation:
    """SGD as torch's: weight decay joins the gradient before the momentum.

    Clipping comes before it, see `sgd_step`. `rate` changes between epochs, so the
    optimizer is made where it is used; its state does not depend on it.
    """
    return optax.chain(
        optax.add_decayed_weights(sgd.weight_decay),
        optax.sgd(rate, momentum=sgd.momentum),
    )
