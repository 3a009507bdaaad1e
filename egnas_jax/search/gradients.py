"""Computes loss and gradients of one batch, which several devices may share.

Dims: N images of the batch, on all devices.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax

from egnas_jax.data.labels import checked_batch
from egnas_jax.nn.drop_path import EdgeDropout
from egnas_jax.nn.skip_dropout import SkipDropout
from egnas_jax.nn.supernet import Supernet
from egnas_jax.training.shards import division_of, over_images
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree


@flax.struct.dataclass
class Gradients:
    """Loss and gradients of a batch.

    Attributes:
      loss: mean cross entropy, f32[].
      correct: correctly classified images, i32[].
      gradient: of the loss, a tree like the argument `wrt` of `batch_gradients`.
    """

    loss: Array
    correct: Array
    gradient: PyTree


def batch_gradients(
    net: Supernet,
    network: Callable,
    wrt: PyTree,
    batch: Batch,
    *shared: PyTree,
    dropout: EdgeDropout | SkipDropout | None = None,
    key: Key | None = None,
) -> tuple[Gradients, PyTree]:
    """Computes gradients of the mean cross entropy under the whole batch's statistics.

    Args:
      net: the supernet; its devices or its shards divide the batch.
      network: (wrt, *shared) -> variables and mixing of the forward pass.
      wrt: what to differentiate with respect to: weights, rows of a mixing, alpha.
      batch: f32[N, H, W, C] and i32[N].
      shared: further arguments of `network`, replicated.
      dropout: drops edges of single images, or elements behind skips; None: drops
        none.
      key: of the primitives that draw; read only where the supernet has any.

    Returns:
      Gradients and the new running statistics.

    Raises:
      ValueError: a label that is not traced is outside 0 to num_classes - 1.
    """
    batch = checked_batch(batch, net.config.num_classes)
    size, key = len(batch.labels), key if net.draws else None

    def summed(batch, wrt, dropout, key, *shared):
        optional = {} if dropout is None else {"dropout": dropout}
        optional |= {} if key is None else {"key": key}

        def loss(wrt):
            variables, mixing = network(wrt, *shared)
            logits, stats = net.apply(
                variables, batch.images, mixing, train=True, **optional
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, batch.labels
            )
            hits = jnp.sum(jnp.argmax(logits, -1) == batch.labels, dtype=jnp.int32)
            return jnp.sum(losses) / size, (stats, hits)

        with_gradient = jax.value_and_grad(loss, has_aux=True)
        (value, (stats, hits)), gradient = with_gradient(wrt)
        return Gradients(value, hits, gradient), stats

    return over_images(division_of(net), summed, batch, wrt, dropout, key, *shared)


def alpha_gradient(
    net: Supernet,
    mixing_of: Callable[[PyTree], Mixing],
    alpha: PyTree,
    variables: PyTree,
    batch: Batch,
    *,
    dropout: SkipDropout | None = None,
    key: Key | None = None,
) -> PyTree:
    """Returns the gradient of a batch's loss by alpha, the weights constant.

    Args:
      net: the supernet.
      mixing_of: alpha -> the mixing of the forward pass.
      alpha: cell kind -> f32[E, K], or any tree that `mixing_of` takes.
      variables: {"params", "batch_stats"}; nothing in them changes.
      batch, dropout, key: see `batch_gradients`.
    """

    def network(alpha, variables):
        return variables, mixing_of(alpha)

    gradients, _ = batch_gradients(
        net, network, alpha, batch, variables, dropout=dropout, key=key
    )
    return gradients.gradient


def softmax_gradient(p: Array, cotangent: Array) -> Array:
    """Returns the gradient of alpha from that of p = softmax(alpha), by rows.

    Args:
      p: softmax of alpha over the last axis, [..., K].
      cotangent: gradient of p, [..., K].
    """
    return p * (cotangent - jnp.sum(p * cotangent, axis=-1, keepdims=True))
