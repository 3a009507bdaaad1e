"""Loss and gradients of one batch, whose images may lie on several devices.

Dims: N images of the batch, on all devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.mesh import over_images
from egnas_jax.types import Array, Batch, Mixing, PyTree


class Gradients(NamedTuple):
    """What a batch gives, added up over its images.

    Attributes:
      loss: mean cross entropy, f32[].
      correct: i32[].
      params: gradient of the loss, the tree of the weights.
      primitives: that of the mixing's primitives, cell kind -> [E, K].
    """

    loss: Array
    correct: Array
    params: PyTree
    primitives: PyTree


def batch_gradients(
    net: Supernet, variables: PyTree, mixing: Mixing, batch: Batch, wanted: tuple
) -> tuple[Gradients, PyTree]:
    """Gradients of the mean cross entropy under the statistics of the whole batch.

    Args:
      net: its devices divide the batch.
      variables: {"params", "batch_stats"}.
      mixing: that the batch goes through.
      batch: f32[N, H, W, C] and i32[N].
      wanted: names out of "params" and "primitives"; the others' gradients are None.

    Returns:
      Gradients and the new running statistics.
    """
    size = len(batch.labels)

    def loss(sources, batch, variables, mixing):
        mixing = mixing._replace(
            primitives=sources.get("primitives", mixing.primitives)
        )
        variables = variables | {"params": sources.get("params", variables["params"])}
        logits, stats = net.apply(variables, batch.images, mixing, train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        hits = jnp.sum(jnp.argmax(logits, -1) == batch.labels, dtype=jnp.int32)
        return jnp.sum(losses) / size, (stats, hits)

    def summed(batch, variables, mixing):
        given = {"params": variables["params"], "primitives": mixing.primitives}
        sources = {name: given[name] for name in wanted}
        (value, (stats, hits)), found = jax.value_and_grad(loss, has_aux=True)(
            sources, batch, variables, mixing
        )
        parts = found.get("params"), found.get("primitives")
        return Gradients(value, hits, *parts), stats

    return over_images(net.mesh, summed, batch, variables, mixing)


def softmax_gradient(p: Array, cotangent: Array) -> Array:
    """Gradient of alpha from that of p = softmax(alpha), rows on the last axis."""
    return p * (cotangent - jnp.sum(p * cotangent, axis=-1, keepdims=True))
