"""Drops single elements behind skip connections, in training.

A search tends to prefer skips, since they train fast. Dropout behind those of stride 1,
which are identities, holds them back.

Source: P-DARTS (Chen et al., ICCV 2019).

Dims: S edges that leave one state, C channels, H, W sides, N images.
"""

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.nn.drawing_keys import of_share
from egnas_jax.types import Array, Key


@flax.struct.dataclass
class SkipDropout:
    """What drops elements behind the skips of stride 1.

    Attributes:
      key: of one pass, of a cell in it, or of a state in that.
      probability: the probability with which an element of an edge is dropped, f32[].
    """

    key: Key
    probability: Array | float

    def within(self, index: Array | int) -> "SkipDropout":
        """The dropout of one cell of the pass, or of one state of that cell."""
        return self.replace(key=jax.random.fold_in(self.key, index))


def drop_elements(x: Array, edges: int, dropout: SkipDropout) -> Array:
    """Drops elements of what S edges read, each edge others; the mean stays the same.

    Devices that share a batch draw different ones.

    Args:
      x: the state, [1, C, H, W, N].
      edges: S.
      dropout: of this state.

    Returns:
      [S, C, H, W, N].
    """
    key = of_share(dropout.key)
    keep = 1.0 - jnp.asarray(dropout.probability, jnp.float32)
    is_kept = jax.random.bernoulli(key, keep, (edges, *x.shape[1:]))
    return jnp.where(is_kept, x / keep.astype(x.dtype), jnp.zeros((), x.dtype))
