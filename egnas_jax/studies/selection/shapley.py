"""Selects by Shapley values: what primitives add to the accuracy on average.

The players of the game are all primitives of all edges of all kinds of cells. In a
random order they are removed from the supernet, one after the other, and each is
credited with the accuracy that is lost by it. A permutation ends where little accuracy
is left; the players after it get 0.

Source: Shapley-NAS (Xiao et al., CVPR 2022), train_search.py of its reference: each
permutation on a validation batch of its own, the value of a player its mean less its
standard deviation over the permutations (`value`), standardised in each kind of cell.
The reference adds these values to alpha in every epoch of a search; here the genotype
is derived from them alone, after the search. Accuracies are fractions here, percent
there, which the standardised values do not depend on.

Dims: R permutations, D players, G kinds of cells, E edges, K primitives.
"""

import numpy as np

from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.studies.selection.cells import (
    CellWeights,
    Selection,
    SelectionProblem,
    stacked,
)
from egnas_jax.studies.selection.leave_one_out import by_kind

BLOCK = 32  # removals that are evaluated together, beyond which truncation saves work


def shapley(problem: SelectionProblem) -> Selection:
    """Selects by permutations that are drawn by the problem's seed.

    Args:
      problem: what is selected from.
    """
    rng = np.random.default_rng(problem.seed)
    players = np.flatnonzero(derivable_masks(problem.space))
    number = problem.options.permutations
    return select_by_permutations(
        problem, np.stack([rng.permutation(players) for _ in range(number)])
    )


def select_by_permutations(
    problem: SelectionProblem, permutations: np.ndarray
) -> Selection:
    """Selects by given permutations.

    Args:
      problem: what is selected from.
      permutations: of the players, positions in a flat [G, E, K], i64[R, D]. The one
        with number r is evaluated on batch r, and anew from the first batch where
        there are fewer batches.

    Returns:
      Standardised values [G, E, K]; the trace has the values themselves.
    """
    allowed = derivable_masks(problem.space)
    rows = [
        contributions(problem, order, number % problem.num_batches)
        for number, order in enumerate(permutations)
    ]
    value = np.mean(rows, axis=0)
    if problem.options.value == "mean-std":
        value = value - np.std(rows, axis=0)
    value = value.reshape(allowed.shape)
    weights = CellWeights(standardised(value, allowed), np.ones(allowed.shape[:2]))
    return Selection(weights, {"value": by_kind(problem, value)})


def contributions(
    problem: SelectionProblem, order: np.ndarray, batch: int
) -> np.ndarray:
    """Returns what each player adds to the accuracy in one permutation.

    Args:
      problem: what is selected from.
      order: in which the players are removed, i64[D].
      batch: the batch on which accuracies are measured.

    Returns:
      f64[G * E * K], a fraction of the images; 0 for the players after the truncation.
    """
    before = problem.score(stacked([problem.start]), batch).accuracy[0]
    least = problem.options.truncation * before
    result = np.zeros(problem.start.primitives.size)
    for first in range(0, len(order), BLOCK):
        block = order[first : first + BLOCK]
        removed = _removed(problem.start, order, first, len(block))
        accuracies = problem.score(removed, batch).accuracy
        for player, after in zip(block, accuracies, strict=True):
            result[player] = before - after
            before = after
            if after < least:
                return result
    return result


def _removed(
    start: CellWeights, order: np.ndarray, first: int, number: int
) -> CellWeights:
    """Candidates without the first players of an order, one more in each."""
    rows = np.repeat(start.primitives.reshape(1, -1), number, axis=0)
    for candidate in range(number):
        rows[candidate, order[: first + candidate + 1]] = 0.0
    primitives = rows.reshape(number, *start.primitives.shape)
    return CellWeights(primitives, np.repeat(start.edges[None], number, axis=0))


def standardised(value: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Returns values with mean 0 and standard deviation 1 in each kind of cell.

    Args:
      value: f64[G, E, K].
      allowed: the players, bool[G, E, K]; the others get 0.

    Returns:
      f64[G, E, K]. Values that are all equal become 0.
    """
    result = np.zeros(value.shape)
    for kind, players in enumerate(allowed):
        own = value[kind][players]
        spread = np.std(own, ddof=1) if len(own) > 1 else 0.0
        result[kind][players] = (own - own.mean()) / spread if spread > 0 else 0.0
    return result
