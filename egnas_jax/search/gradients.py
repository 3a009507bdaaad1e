"""Loss and gradients of one batch, whose images may lie on several devices.

Dims: N images of the batch, on all devices.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.training.devices import over_images
from egnas_jax.types import Array, Batch, PyTree


class Gradients(NamedTuple):
    """What a batch gives, added up over its images.

    Attributes:
      loss: mean cross entropy, f32[].
      correct: i32[].
      sources: gradient of the loss, the tree of what it was asked for.
    """

    loss: Array
    correct: Array
    sources: PyTree


def batch_gradients(
    net: Supernet, network: Callable, sources: PyTree, batch: Batch, *shared: PyTree
) -> tuple[Gradients, PyTree]:
    """Gradients of the mean cross entropy under the statistics of the whole batch.

    Args:
      net: its devices divide the batch.
      network: (sources, *shared) -> variables and mixing that the batch goes through.
      sources: what the gradient is wanted of: weights, rows of a mixing, alpha.
      batch: f32[N, H, W, C] and i32[N].
      shared: what else `network` needs; every device has it whole.

    Returns:
      Gradients and the new running statistics.
    """
    size = len(batch.labels)

    def summed(batch, sources, *shared):
        def loss(sources):
            variables, mixing = network(sources, *shared)
            logits, stats = net.apply(variables, batch.images, mixing, train=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, batch.labels
            )
            hits = jnp.sum(jnp.argmax(logits, -1) == batch.labels, dtype=jnp.int32)
            return jnp.sum(losses) / size, (stats, hits)

        (value, (stats, hits)), found = jax.value_and_grad(loss, has_aux=True)(sources)
        return Gradients(value, hits, found), stats

    return over_images(net.mesh, summed, batch, sources, *shared)


def softmax_gradient(p: Array, cotangent: Array) -> Array:
    """Gradient of alpha from that of p = softmax(alpha), rows on the last axis."""
    return p * (cotangent - jnp.sum(p * cotangent, axis=-1, keepdims=True))
