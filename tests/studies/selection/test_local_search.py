"""Local search: its neighbourhood, and the cells at which it ends."""

import itertools

import numpy as np
import pytest

from egnas_jax.space import SPACES
from egnas_jax.studies.selection.cells import CellWeights, stacked
from egnas_jax.studies.selection.local_search import local_search, neighbours


def as_sets(space, cell):
    """(kind, edge, primitive) of all edges of a cell."""
    return frozenset(
        (kind, edge, int(cell.primitives[kind, edge].argmax()))
        for kind, edge in np.argwhere(cell.edges > 0).tolist()
    )


@pytest.mark.parametrize(
    "name, number", [("darts7", 16 * 6 + 2 * 12), ("nasbench201", 24)]
)
def test_neighbours_are_all_cells_that_differ_in_one_choice(name, number, random_cell):
    space = SPACES[name]
    cell = random_cell(space)
    own = as_sets(space, cell)
    found = [as_sets(space, each) for each in neighbours(space, cell)]
    assert len(found) == len(set(found)) == number
    for other in found:
        ((kind, edge, primitive),) = other - own
        ((old_kind, old_edge, old_primitive),) = own - other
        assert kind == old_kind
        if edge == old_edge:
            assert primitive != old_primitive
        else:  # another source of the same node
            assert primitive == old_primitive
            assert space.edges[edge][1] == space.edges[old_edge][1]


def test_the_best_cell_of_an_additive_score_is_reached(make_problem, random_cell):
    space = SPACES["nasbench201"]
    worth = np.random.default_rng(0).random((1, 6, 5))

    def accuracy(cells, batch):
        return (cells.primitives * worth).sum(axis=(1, 2, 3))

    selection = local_search(make_problem(space, accuracy, cell=random_cell(space)))
    chosen = selection.weights.primitives.argmax(axis=-1)
    np.testing.assert_array_equal(chosen, worth.argmax(axis=-1))
    path = selection.trace["path"]
    assert path == sorted(path) and len(path) <= 7
    assert path[-1] == pytest.approx(worth.max(axis=-1).sum())


def test_the_search_ends_where_no_change_is_better(make_problem, random_cell):
    """A rugged score: every pair of neighbouring choices has a value of its own."""
    space = SPACES["darts7"]
    table = np.random.default_rng(1).random((2, 14, 7, 2, 14, 7))

    def accuracy(cells, batch):
        values = []
        for candidate in range(len(cells.edges)):
            one = CellWeights(*(leaf[candidate] for leaf in cells))
            pairs = itertools.pairwise(sorted(as_sets(space, one)))
            values.append(sum(table[(*a, *b)] for a, b in pairs))
        return values

    problem = make_problem(space, accuracy, cell=random_cell(space, 2))
    selection = local_search(problem)
    found = selection.weights
    assert len(selection.trace["path"]) > 2
    final = accuracy(stacked([found]), None)[0]
    assert final == pytest.approx(selection.trace["path"][-1])
    assert max(accuracy(stacked(neighbours(space, found)), None)) <= final


def test_losses_are_lowered_and_equal_cells_are_no_gain(make_problem, random_cell):
    space = SPACES["nasbench201"]
    cell = random_cell(space)
    flat = make_problem(
        space, lambda cells, batch: np.ones(len(cells.edges)), cell=cell
    )
    assert local_search(flat).trace["path"] == [1.0]
    by_loss = make_problem(
        space,
        lambda cells, batch: cells.primitives[:, 0, :, 2].sum(axis=-1),
        cell=cell,
        criterion="loss",
    )
    assert local_search(by_loss).trace["path"][-1] == -6.0
