"""Selects by what each primitive of each edge is worth to the whole supernet.

Every primitive is removed alone: its weight is 0, and all others stay. What the
supernet loses by it is the importance of the primitive, and the genotype is derived
from the importances as from the weights of a search. It is the first step of the
Shapley values, and the first of perturbation on every edge at once.

Dims: G kinds of cells, E edges of a cell, K primitives of an edge.
"""

import numpy as np

from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.studies.selection.cells import (
    CellWeights,
    Selection,
    SelectionProblem,
    goodness,
    stacked,
    without_primitives,
)

WORST = 1e6  # importance of a primitive without which the loss is not finite


def leave_one_out(problem: SelectionProblem) -> Selection:
    """Selects the primitives and edges of the largest importance.

    Args:
      problem: what is selected from.

    Returns:
      Importances [G, E, K], 0 where a derived cell cannot have the primitive.
    """
    allowed = derivable_masks(problem.space)
    places = list(map(tuple, np.argwhere(allowed).tolist()))
    criterion = problem.options.criterion
    (complete,) = goodness(problem.score(stacked([problem.start])), criterion)
    without = goodness(
        problem.score(without_primitives(problem.start, places)), criterion
    )
    importance = np.zeros(allowed.shape)
    importance[allowed] = np.nan_to_num(complete - without, posinf=WORST)
    weights = CellWeights(importance, np.ones(allowed.shape[:2]))
    return Selection(weights, {"importance": by_kind(problem, importance)})


def by_kind(problem: SelectionProblem, values: np.ndarray) -> dict[str, list]:
    """Returns arrays [G, E, K] as lists [E][K] by kind of cell.

    Args:
      problem: has the kinds.
      values: of all primitives.
    """
    return dict(zip(problem.space.kinds, values.tolist(), strict=True))
