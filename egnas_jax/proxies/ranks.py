"""Makes ranks of scores, whose units no two proxies share.

Dims: P cells.
"""

import jax.numpy as jnp
from jaxtyping import Float, Int

from egnas_jax.types import Array


def lower_scores(scores: Float[Array, " P"]) -> Int[Array, " P"]:
    """Returns how many scores are lower than each, i32[P]; NaN is the lowest.

    Args:
      scores: larger is better.
    """
    ranked = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    places = jnp.searchsorted(jnp.sort(ranked), ranked, side="left")
    return places.astype(jnp.int32)


def share_of_lower(scores: Float[Array, " P"]) -> Float[Array, " P"]:
    """Returns the share of scores that are lower than each, f32[P], in [0, 1).

    Args:
      scores: larger is better.
    """
    return lower_scores(scores).astype(jnp.float32) / len(scores)
