"""Selects by local search: the best change of one choice, until none is better.

It starts from the cell that the search derives. A change gives an edge of the cell
another primitive, or, where a node keeps two edges, moves an edge with its primitive to
another source. All changes of a cell are evaluated as one population.

Source: local search as a baseline of architecture search (White et al., UAI 2021), on
the shared weights of a supernet in place of trained networks.
"""

import numpy as np

from egnas_jax.space import Space
from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.studies.selection.cells import (
    CellWeights,
    Selection,
    SelectionProblem,
    goodness,
    stacked,
    with_edge,
    with_primitive,
)


def local_search(problem: SelectionProblem) -> Selection:
    """Selects a cell that no single change makes better.

    Args:
      problem: what is selected from.

    Returns:
      The cell, whose rows are one-hot; the trace has the score of each cell on the
      way, the first one included.
    """
    criterion = problem.options.criterion
    cell, best = (
        problem.cell,
        goodness(problem.score(stacked([problem.cell])), criterion)[0],
    )
    path = [best]
    while changes := neighbours(problem.space, cell):
        values = goodness(problem.score(stacked(changes)), criterion)
        winner = int(np.argmax(values))
        if not values[winner] > best:
            break
        cell, best = changes[winner], values[winner]
        path.append(best)
    sign = 1.0 if criterion == "accuracy" else -1.0
    return Selection(cell, {"path": [float(sign * value) for value in path]})


def neighbours(space: Space, cell: CellWeights) -> list[CellWeights]:
    """Returns all cells that differ from a cell in one choice.

    Args:
      space: of the cells.
      cell: one-hot rows [G, E, K], edges of 0 and 1 [G, E].
    """
    allowed, cells = derivable_masks(space), []
    for kind, edge in np.argwhere(cell.edges > 0).tolist():
        chosen = int(np.argmax(cell.primitives[kind, edge]))
        for primitive in np.flatnonzero(allowed[kind, edge]).tolist():
            if primitive != chosen:
                cells.append(with_primitive(cell, (kind, edge, primitive)))
        for free in _free_edges(space, cell, kind, edge):
            if allowed[kind, free, chosen]:
                rewired = with_edge(with_edge(cell, kind, edge, 0.0), kind, free, 1.0)
                cells.append(with_primitive(rewired, (kind, free, chosen)))
    return cells


def _free_edges(space: Space, cell: CellWeights, kind: int, edge: int) -> list[int]:
    """The edges to the same node that the cell does not have."""
    rows = space.in_edges(space.edges[edge][1])
    return [row for row in rows if cell.edges[kind, row] == 0]
