"""Drops the output of an edge for single images, in training.

Source: FractalNet (Larsson et al., ICLR 2017) as the DARTS family uses it.

Dims: E edges, N images.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from egnas_jax.nn.drawing_keys import of_share
from egnas_jax.types import Array, Key


@flax.struct.dataclass
class EdgeDropout:
    """What drops whole mixed edges of a supernet.

    Attributes:
      key: of one pass.
      probability: the probability with which an edge of an image is dropped, in every
        cell anew.
    """

    key: Key
    probability: Array | float


def keep_factors(
    key: Key, edges: int, images: int, drop_path: Array | float, dtype: DTypeLike
) -> Array:
    """Draws the factor of each edge's output for each image: [E, N].

    A factor is 0 where the path is dropped, with probability `drop_path`. Otherwise it
    is the inverse of the probability of keeping a path, so that the mean is 1.
    """
    keep = 1.0 - jnp.asarray(drop_path, jnp.float32)
    is_kept = jax.random.bernoulli(key, keep, (edges, images))
    return jnp.where(is_kept, 1.0 / keep, 0.0).astype(dtype)


def edge_factors(
    dropout: EdgeDropout | None, cell: Array | int, edges: int, images: int
) -> Array | None:
    """Returns the factors of one cell, f32[E, N]; None where nothing is dropped.

    Devices that share a batch draw different ones.

    Args:
      dropout: of the pass.
      cell: its position in the network.
      edges, images: E and N.
    """
    if dropout is None:
        return None
    key = of_share(jax.random.fold_in(dropout.key, cell))
    return keep_factors(key, edges, images, dropout.probability, jnp.float32)
