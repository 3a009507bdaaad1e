"""Measures on how many edges and primitives cells agree."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from egnas_jax.studies.selection.cells import CellWeights


class Agreement(NamedTuple):
    """What two cells have in common, over all kinds of cells.

    Attributes:
      edges: number of edges that both have.
      primitives: number of edges that both have with the same primitive.
      total: number of edges of a cell.
    """

    edges: int
    primitives: int
    total: int


def agreement(first: CellWeights, second: CellWeights) -> Agreement:
    """Compares two cells.

    Args:
      first, second: one-hot rows [G, E, K], edges of 0 and 1 [G, E].
    """
    common = (first.edges > 0) & (second.edges > 0)
    choices = (cell.primitives.argmax(axis=-1) for cell in (first, second))
    equal = common & np.equal(*choices)
    return Agreement(int(common.sum()), int(equal.sum()), int((first.edges > 0).sum()))


def agreements(cells: Mapping[str, CellWeights]) -> list[dict]:
    """Returns what each pair of selectors agrees on, as selection.json has it.

    Args:
      cells: name of the selector -> its cell.
    """
    return [
        {"first": first, "second": second, **agreement(*both)._asdict()}
        for (first, second), both in zip(
            itertools.combinations(cells, 2),
            itertools.combinations(cells.values(), 2),
            strict=True,
        )
    ]


def mean_agreement(cells: Sequence[CellWeights]) -> float | None:
    """Returns the mean share of equal edges and primitives over all pairs of cells.

    Args:
      cells: of one selector by several seeds.

    Returns:
      A fraction; None where there is one cell.
    """
    shares = [
        common.primitives / common.total
        for common in itertools.starmap(agreement, itertools.combinations(cells, 2))
    ]
    return float(np.mean(shares)) if shares else None
