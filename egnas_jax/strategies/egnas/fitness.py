"""Computes the compound fitness of EG-NAS. Lower is better.

Source: EG-NAS formula (3); `CFF` in the official code.

Dims: P population, E edges, K primitives.
"""

import chex
import jax
import jax.numpy as jnp

from egnas_jax.search.relax import live_rows, num_live, softmax_mixing
from egnas_jax.space import Space
from egnas_jax.types import Array

FLOOR = 1e-8  # of a product of norms: a row of zeros counts as orthogonal
SIGNS = ("paper", "centred", "off")
SIMILARITIES = ("raw", "normalised", "centred", "flattened")  # readings of L2


def cosine(a: Array, b: Array) -> Array:
    """Returns the cosine over the last axis: [..., K] -> [...]."""
    norms = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    return jnp.sum(a * b, axis=-1) / jnp.maximum(norms, FLOOR)


def similarity(current: dict[str, Array], candidate: dict[str, Array]) -> Array:
    """Returns the similarity that formula (3) calls L2. It is not an L2 norm.

    It is the mean cosine over edges, then kinds, moved to [0, 1].

    Args:
      current, candidate: cell kind -> [E, K]; vectors [D] as [1, D] give one cosine.
    """
    means = jax.tree.map(lambda a, b: jnp.mean(cosine(a, b)), current, candidate)
    return (1.0 + jnp.mean(jnp.stack(jax.tree.leaves(means)))) / 2.0


def similarity_as_read(
    alpha: dict[str, Array],
    z: dict[str, Array],
    reading: str,
    space: Space | None = None,
) -> Array:
    """Returns the similarity of z to alpha in one of the `SIMILARITIES`, f32[].

    Args:
      alpha, z: cell kind -> [E, K]; z is one individual as it was drawn.
      reading: see `EGNASConfig.similarity`. The "normalised" rows of z need no
        division here, since a cosine does not depend on norms.
      space: of the cells; None: every edge has all primitives. What an edge lacks does
        not count.
    """
    if reading == "normalised":
        alpha = softmax_mixing(alpha, space).primitives
    alpha, z = (live_rows(space, rows, dead=0.0) for rows in (alpha, z))
    if reading == "centred":
        alpha, z = (_centred(space, rows) for rows in (alpha, z))
    elif reading == "flattened":
        alpha, z = (
            {"all": jnp.concatenate([t[kind].reshape(1, -1) for kind in alpha], axis=1)}
            for t in (alpha, z)
        )
    return similarity(alpha, z)


def _centred(space: Space | None, rows: dict[str, Array]) -> dict[str, Array]:
    """Rows minus their means over the primitives that the edges have."""
    if space is None or space.live is None:
        return {
            kind: row - jnp.mean(row, axis=-1, keepdims=True)
            for kind, row in rows.items()
        }
    centred = {
        kind: row - jnp.sum(row, axis=-1, keepdims=True) / num_live(space, kind, row)
        for kind, row in rows.items()
    }
    return live_rows(space, centred, dead=0.0)


def compound_fitness(
    loss: Array,
    correct: Array,
    similarity: Array,
    *,
    correct_current: Array,
    zeta: Array | float,
    eta: Array | float,
    sign: str = "paper",
) -> Array:
    """Returns zeta L1 +- eta L2: individuals at least as good as alpha are pushed away
    from it, the others pulled towards it.

    Args:
      loss, similarity: L1 and L2 of formula (3), f32[P].
      correct: i32[P], a count, so that ties are exact.
      correct_current: of the supernet's own alpha on the same images, i32[].
      zeta, eta: weights of the two terms.
      sign: "paper" as formula (3); "centred" subtracts the population's mean L2, so
        that the term does not jump where the sign changes; "off" leaves it out.

    Returns:
      f32[P]; NaN where the loss is.
    """
    chex.assert_equal_shape([loss, correct, similarity])
    chex.assert_rank(correct_current, 0)
    if sign == "off":
        return zeta * loss
    if sign == "centred":
        similarity = similarity - jnp.mean(similarity)
    push = jnp.where(correct >= correct_current, 1.0, -1.0)
    return zeta * loss + push * eta * similarity
