"""Turns individuals into mixings, similarities to alpha and derived cells.

Source: EG-NAS (Cai et al., AAAI 2024), formula (3); `CFF` of the official code.

Dims: P population, E edges, K primitives.
"""

import jax
import jax.numpy as jnp

from egnas_jax.search.relax import live_rows, softmax_mixing, unweighted
from egnas_jax.space import Space
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.fitness import FLOOR, similarity_as_read
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.limits.derived import derived_mixing
from egnas_jax.types import Array, Mixing


def mixings_beside_alpha(
    method: EGNAS, alpha: dict[str, Array], rows: dict[str, Array]
) -> Mixing:
    """Returns the mixing of alpha and those of individuals, leaves [1 + P, ...]."""
    space = method.space
    return jax.tree.map(
        lambda current, others: jnp.concatenate([current[None], others]),
        softmax_mixing(alpha, space),  # with the others, so one program is compiled
        unweighted(individual_rows(rows, method.config, space)),
    )


def similarities(
    method: EGNAS, alpha: dict[str, Array], rows: dict[str, Array]
) -> Array:
    """Returns the similarity of individuals [P, E, K] by kind to alpha, f32[P]."""
    config, space = method.config, method.space
    return jax.vmap(lambda z: similarity_as_read(alpha, z, config.similarity, space))(
        rows
    )


def derived_cells(space: Space, rows: dict[str, Array]) -> Mixing:
    """Returns the cells that are derived of individuals, one-hot, [P, ...]."""
    return jax.vmap(lambda row: derived_mixing(space, softmax_mixing(row, space)))(rows)


def individual_rows(
    rows: dict[str, Array], options: EGNASConfig, space: Space | None = None
) -> dict[str, Array]:
    """Returns q, the rows of the mixing under which an individual is evaluated.

    Args:
      rows: z, cell kind -> [..., E, K].
      options: `individual_mixing` is used.
      space: of the cells; None: every edge has all primitives.
    """
    if options.individual_mixing == "normalised_softmax":
        live = live_rows(space, rows, dead=0.0)
        rows = {kind: _unit(row) for kind, row in live.items()}
    return softmax_mixing(rows, space).primitives


def _unit(row: Array) -> Array:
    norm = jnp.linalg.norm(row, axis=-1, keepdims=True)
    return row / jnp.maximum(norm, FLOOR)
