"""Checks the arrays of a mixing, and reads them on the host for derivations.

Dims: G kinds of cells, E edges of a cell, K primitives of the space.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from egnas_jax.space.base import Space
from egnas_jax.space.per_edge import LivePrimitives

if TYPE_CHECKING:  # importing JAX takes a second, and spaces need none of it
    from egnas_jax.types import Mixing


def check_shape(
    space: Space, name: str, arrays: Mapping[str, Any], kind: str, *, rank: int = 2
) -> None:
    """Refuses the weights of one kind of cell whose shape is not that of a space.

    It looks at shapes alone, so the arrays may be traced.

    Args:
      space: of the cells.
      name: of the arrays, for the message.
      arrays: kind of cell -> array.
      kind: of the cell.
      rank: 2 for weights of primitives [E, K], 1 for weights of edges [E].

    Raises:
      ValueError: the kind is missing, or its array has another shape.
    """
    if kind not in arrays:
        raise ValueError(f"{name} lacks the kind {kind!r}; it holds {sorted(arrays)}.")
    expected = (space.num_edges, len(space.primitives))[:rank]
    if (shape := np.shape(arrays[kind])) != expected:
        axes = "[edges, primitives]" if rank == 2 else "[edges]"
        raise ValueError(
            f"{name}[{kind!r}] of the space {space.name} must be {axes}, of shape "
            f"{expected}; got shape {shape}."
        )


def check_mixing(space: Space, mixing: "Mixing") -> None:
    """Refuses a mixing without the kinds and shapes of a space's cells.

    Args:
      space: of the cells.
      mixing: of one cell of each kind; its arrays may be traced.

    Raises:
      ValueError: see `check_shape`.
    """
    for kind in space.kinds:
        check_shape(space, "mixing.primitives", mixing.primitives, kind)
        check_shape(space, "mixing.edges", mixing.edges, kind, rank=1)


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
    arrays = []
    for field, rank in {"primitives": 2, "edges": 1}.items():
        name, table = f"mixing.{field}", getattr(mixing, field)
        check_shape(space, name, table, kind, rank=rank)
        array = np.asarray(table[kind], np.float32)
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name}[{kind!r}] of the space {space.name} must be finite; got "
                f"{int((~np.isfinite(array)).sum())} values not finite."
            )
        arrays.append(array)
    return arrays


def live_mask(space: Space, kind: str) -> np.ndarray:
    """Returns which primitives the edges of a kind of cell have, bool[E, K]."""
    return live_masks(space, space.live)[space.kinds.index(kind)]


def live_masks(space: Space, live: LivePrimitives | None) -> np.ndarray:
    """Returns which primitives are live, bool[G, E, K].

    Args:
      space: has the kinds, edges and primitives.
      live: the positions of the primitives of each kind and edge, as in `Space.live`;
        None: every edge has all.
    """
    shape = len(space.kinds), space.num_edges, len(space.primitives)
    masks = np.full(shape, live is None)
    for kind, edges in enumerate(live or ()):
        for edge, positions in enumerate(edges):
            masks[kind, edge, list(positions)] = True
    return masks


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
