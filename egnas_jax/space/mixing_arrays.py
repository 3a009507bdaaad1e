"""Reads the arrays of a mixing on the host, for the derivation of genotypes.

Dims: G kinds of cells, E edges of a cell, K primitives of the space.
"""

from typing import TYPE_CHECKING

import numpy as np

from egnas_jax.space.base import Space

if TYPE_CHECKING:  # importing JAX takes a second, and spaces need none of it
    from egnas_jax.types import Mixing


def checked_arrays(space: Space, mixing: "Mixing", kind: str) -> list[np.ndarray]:
    """Returns the weights of one kind of cell on the host, checked.

    Args:
      space: has the shapes.
      mixing: per kind, weights of primitives [E, K] and of edges [E].
      kind: of the cell.

    Returns:
      Weights of primitives f32[E, K] and of edges f32[E].

    Raises:
      ValueError: the kind is missing, or an array has another shape or a value that is
        not finite.
    """
    shapes = {
        "primitives": (space.num_edges, len(space.primitives)),
        "edges": (space.num_edges,),
    }
    arrays = []
    for field, shape in shapes.items():
        table = getattr(mixing, field)
        if kind not in table:
            raise ValueError(
                f"mixing.{field} lacks the kind {kind!r}; it holds {sorted(table)}."
            )
        array = np.asarray(table[kind], np.float32)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(
                f"mixing.{field}[{kind!r}] of the space {space.name} must be finite "
                f"and of shape {shape}; got shape {array.shape}, "
                f"{int((~np.isfinite(array)).sum())} values not finite."
            )
        arrays.append(array)
    return arrays


def live_mask(space: Space, kind: str) -> np.ndarray:
    """Returns which primitives the edges of a kind of cell have, bool[E, K]."""
    mask = np.full((space.num_edges, len(space.primitives)), space.live is None)
    if space.live is not None:
        for edge, positions in enumerate(space.live[space.kinds.index(kind)]):
            mask[edge, list(positions)] = True
    return mask


def derivable_mask(space: Space, kind: str) -> np.ndarray:
    """Returns which primitives an edge of a derived cell may have, bool[E, K].

    These are all that the edge has; without `none` where two edges of a node are kept.
    """
    mask = live_mask(space, kind)
    if not space.keeps_two_edges:
        return mask
    return mask & np.array([name != "none" for name in space.primitives])


def derivable_masks(space: Space) -> np.ndarray:
    """Returns `derivable_mask` of every kind of cell, bool[G, E, K]."""
    return np.stack([derivable_mask(space, kind) for kind in space.kinds])


def strongest_primitives(space: Space, kind: str, primitives: np.ndarray) -> np.ndarray:
    """Returns the strongest primitive that each edge has, i64[E].

    Ties go to the earlier primitive.

    Args:
      space: has the primitives of the edges.
      kind: of the cell.
      primitives: weights f32[E, K].
    """
    return np.where(live_mask(space, kind), primitives, -np.inf).argmax(axis=1)
