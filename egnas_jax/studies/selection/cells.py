"""Holds the weights of a supernet's cells as arrays of the host, and changes them.

Dims: M candidates, G kinds of cells, E edges of a cell, K primitives of an edge.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from egnas_jax.space import Space
from egnas_jax.studies.selection.options import SelectionOptions

Place = tuple[int, int, int]  # kind, edge, primitive


class CellWeights(NamedTuple):
    """What a `Mixing` holds, kinds stacked in the order of the space.

    Attributes:
      primitives: weight of each primitive on each edge, f32[..., G, E, K].
      edges: weight of each edge, f32[..., G, E].
    """

    primitives: np.ndarray
    edges: np.ndarray


class Scores(NamedTuple):
    """How each of M candidates scores.

    Attributes:
      loss: mean cross entropy, f64[M].
      accuracy: a fraction, f64[M].
    """

    loss: np.ndarray
    accuracy: np.ndarray


class ScoreFn(Protocol):
    def __call__(self, cells: CellWeights, batch: int | None = None) -> Scores:
        """Evaluates candidates with leaves [M, G, E, K] and [M, G, E].

        Args:
          cells: the candidates.
          batch: number of the batch on which they are evaluated; None: the mean over
            all batches.
        """


class SelectionProblem(NamedTuple):
    """What a selector selects from.

    Attributes:
      space: of the cells.
      incumbent: weights from which the search itself derives its cell.
      cell: that cell: one-hot rows, edges of 0 and 1.
      start: weights of the supernet that primitives and edges are taken from.
      score: evaluates candidates.
      options: of the selectors.
      seed: of what a selector draws.
      num_batches: number of batches that `score` has.
      finetune: trains the supernet's weights under the cells' weights; None: they stay
        as they are.
    """

    space: Space
    incumbent: CellWeights
    cell: CellWeights
    start: CellWeights
    score: ScoreFn
    options: SelectionOptions
    seed: int
    num_batches: int
    finetune: Callable[[CellWeights], None] | None = None


class Selection(NamedTuple):
    """What a selector found.

    Attributes:
      weights: from which the space's own rule derives the genotype.
      trace: what was decided by which scores, as JSON holds it.
    """

    weights: CellWeights
    trace: dict


def stacked(cells: Sequence[CellWeights]) -> CellWeights:
    """Returns M cells as candidates, with a leading axis M.

    Args:
      cells: leaves [G, E, K] and [G, E]; at least one.
    """
    return CellWeights(*(np.stack(leaves) for leaves in zip(*cells, strict=True)))


def without_primitives(cells: CellWeights, places: Sequence[Place]) -> CellWeights:
    """Returns candidates that each lack one primitive; the other weights stay.

    Args:
      cells: leaves [G, E, K] and [G, E].
      places: what each of the M candidates lacks.
    """
    primitives = np.repeat(cells.primitives[None], len(places), axis=0)
    for candidate, place in enumerate(places):
        primitives[(candidate, *place)] = 0.0
    edges = np.repeat(cells.edges[None], len(places), axis=0)
    return CellWeights(primitives, edges)


def without_edges(cells: CellWeights, kind: int, edges: Sequence[int]) -> CellWeights:
    """Returns candidates that each lack one edge of a kind of cell.

    Args:
      cells: leaves [G, E, K] and [G, E].
      kind: position of the kind of cell.
      edges: what each of the M candidates lacks.
    """
    return stacked([with_edge(cells, kind, edge, 0.0) for edge in edges])


def with_edge(cells: CellWeights, kind: int, edge: int, weight: float) -> CellWeights:
    """Returns cells with another weight of one edge.

    Args:
      cells: leaves [G, E, K] and [G, E].
      kind, edge: positions.
      weight: of the edge.
    """
    edges = cells.edges.copy()
    edges[kind, edge] = weight
    return cells._replace(edges=edges)


def with_primitive(cells: CellWeights, place: Place) -> CellWeights:
    """Returns cells in which one edge has one primitive alone, of weight 1.

    Args:
      cells: leaves [G, E, K] and [G, E].
      place: kind, edge and primitive.
    """
    kind, edge, primitive = place
    primitives = cells.primitives.copy()
    primitives[kind, edge] = np.arange(primitives.shape[-1]) == primitive
    return cells._replace(primitives=primitives)


def edges_of_cell(space: Space, cell: CellWeights) -> dict[str, list[list]]:
    """Returns a cell as JSON holds it: the edges of each kind that it has.

    Args:
      space: of the cell.
      cell: one-hot rows [G, E, K], edges of 0 and 1 [G, E].

    Returns:
      kind -> [primitive, source, target] of each edge.
    """
    return {
        kind: [
            [space.primitives[int(np.argmax(rows[edge]))], *space.edges[edge]]
            for edge in np.flatnonzero(edges).tolist()
        ]
        for kind, rows, edges in zip(space.kinds, *cell, strict=True)
    }


def cell_of_edges(space: Space, edges_of: Mapping[str, list[list]]) -> CellWeights:
    """Returns the cell of its edges; inverse of `edges_of_cell`.

    Rows of edges that the cell does not have are 0.

    Args:
      space: of the cell.
      edges_of: kind -> [primitive, source, target] of each edge.

    Raises:
      KeyError, TypeError, ValueError: these are no edges of the space.
    """
    shape = len(space.kinds), space.num_edges, len(space.primitives)
    cell = CellWeights(np.zeros(shape), np.zeros(shape[:2]))
    for number, kind in enumerate(space.kinds):
        for primitive, *edge in edges_of[kind]:
            row = space.edges.index(tuple(edge))
            cell.edges[number, row] = 1.0
            cell.primitives[number, row, space.primitives.index(primitive)] = 1.0
    return cell


def goodness(scores: Scores, criterion: str) -> np.ndarray:
    """Returns scores as one number each of which a higher one is better, f64[M].

    Args:
      scores: of M candidates.
      criterion: "accuracy" or "loss". A loss that is not a number counts as the worst.
    """
    if criterion == "accuracy":
        return scores.accuracy
    return -np.where(np.isnan(scores.loss), np.inf, scores.loss)
