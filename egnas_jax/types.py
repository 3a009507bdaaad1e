"""Defines the records that every part of the package passes around.

Dims (the letters of all docstrings): P population, N images of a batch, H, W image
height and width, C channels, E edges of a cell, K primitives of an edge, D = flat
length of all alphas, L cells of a network.
"""

from typing import Any

import flax.struct
import jax

Array = jax.Array
Key = jax.Array  # a typed key, as `jax.random.key` makes it
PyTree = Any
IMPL = "threefry2x32"  # of every key made here, whatever jax's default becomes


@flax.struct.dataclass
class Mixing:
    """How strongly each primitive of each edge counts: all that a supernet sees.

    Attributes:
      primitives: cell kind -> f32[E, K], the weight of each primitive on each edge.
      edges: cell kind -> f32[E], the weight of each edge; ones unless a method
        normalises edges (PC-DARTS), where it scales the bypassed channels too.
    """

    primitives: dict[str, Array]
    edges: dict[str, Array]


@flax.struct.dataclass
class Batch:
    """Images as a network takes them, and their classes.

    Attributes:
      images: f32[N, H, W, C], normalised.
      labels: i32[N], from 0.
    """

    images: Array
    labels: Array


@flax.struct.dataclass
class Evaluation:
    """How one mixing, or each of a population of P, scores on a set of images.

    Attributes:
      loss: mean cross entropy, f32[] or f32[P].
      correct: number of correctly classified images, i32, so that ties are exact.
      accuracy: `correct` as a fraction of the images, f32.
    """

    loss: Array
    correct: Array
    accuracy: Array
