"""Makes selection problems whose scores are simple functions of the cells."""

import itertools

import numpy as np
import pytest

from egnas_jax.space import SPACES
from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.studies.selection.cells import (
    CellWeights,
    Scores,
    SelectionProblem,
)
from egnas_jax.studies.selection.options import SelectionOptions


def _make(space, accuracy, start=None, cell=None, **options):
    space = SPACES[space] if isinstance(space, str) else space
    shape = len(space.kinds), space.num_edges, len(space.primitives)
    allowed = derivable_masks(space)
    if start is None:
        rows = allowed / allowed.sum(axis=-1, keepdims=True)
        start = CellWeights(rows.astype(np.float32), np.ones(shape[:2], np.float32))

    def score(cells, batch=None):
        values = np.asarray(accuracy(cells, batch), float)
        return Scores(-values, values)

    return SelectionProblem(
        space=space,
        incumbent=start,
        cell=cell,
        start=start,
        score=score,
        options=SelectionOptions(**options),
        seed=0,
        num_batches=options.get("batches", 1),
    )


@pytest.fixture(scope="session")
def make_problem():
    """(space, accuracy, start, cell, options) -> a problem whose loss is -accuracy.

    `accuracy` maps candidates and the number of a batch to M accuracies. The supernet
    mixes all primitives equally where no `start` is given.
    """
    return _make


def _random_cell(space, seed=0):
    rng = np.random.default_rng(seed)
    shape = len(space.kinds), space.num_edges, len(space.primitives)
    edges = np.ones(shape[:2])
    for kind, node in itertools.product(
        range(shape[0]), range(2, 6) if space.keeps_two_edges else ()
    ):
        rows = rng.permutation(space.in_edges(node))
        edges[kind, rows[2:]] = 0.0
    return CellWeights(np.eye(shape[2])[rng.integers(shape[2], size=shape[:2])], edges)


@pytest.fixture(scope="session")
def random_cell():
    """(space, seed) -> a derived cell: one-hot rows, edges of 0 and 1."""
    return _random_cell
