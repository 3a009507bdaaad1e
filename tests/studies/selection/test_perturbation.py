"""Selection by perturbation: the reference's decisions, and cells that are known."""

import json

import numpy as np
import pytest

from egnas_jax.space import SPACES, derive
from egnas_jax.studies.selection.agreement import agreement, mean_agreement
from egnas_jax.studies.selection.cells import CellWeights, Scores
from egnas_jax.studies.selection.perturbation import (
    large_nodes,
    perturbation,
    project,
)
from egnas_jax.studies.selection.score import as_mixing

DARTS7 = SPACES["darts7"]


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/perturbation")


def recorded_score(golden, criterion, cases):
    """Scores of candidates as the file has them, of a case for each kind of cell.

    The file has a score for the edge and primitive that are masked, and one for the
    edge that is removed while others of its node are gone.
    """

    def of_primitive(cells):
        gone = (cells.primitives == 0).sum(axis=-1) == 1  # other rows are one-hot
        kinds, edges = gone[0].nonzero()
        masked = [
            (kind, edge)
            for kind, edge in zip(kinds, edges, strict=True)
            if len(set(cells.primitives[:, kind, edge].argmin(axis=-1))) > 1
        ]
        ((kind, edge),) = masked
        table = golden[f"{criterion}_op_scores"][cases[kind], edge]
        return table[cells.primitives[:, kind, edge].argmin(axis=-1)]

    def of_edge(cells):
        removed = cells.edges == 0
        before = removed.all(axis=0)
        values = []
        for candidate in removed:
            ((kind, edge),) = np.argwhere(candidate & ~before)
            rows = DARTS7.in_edges(DARTS7.edges[edge][1])
            bits = sum(1 << i for i, row in enumerate(rows) if before[kind, row])
            table = golden[f"{criterion}_edge_scores"]
            values.append(table[cases[kind], edge, bits])
        return np.array(values)

    def score(cells, batch=None):
        choosing = ((cells.primitives > 0).sum(axis=-1) > 1).any()
        values = of_primitive(cells) if choosing else of_edge(cells)
        return Scores(values, values)

    return score


def genotype_pairs(problem, selection):
    genotype = derive(problem.space, as_mixing(problem.space, selection.weights))
    return [
        [list(pair) for pair in cell] for cell in (genotype.normal, genotype.reduce)
    ]


@pytest.mark.parametrize("criterion, name", [("accuracy", "acc"), ("loss", "loss")])
def test_decisions_are_those_of_the_reference(golden, make_problem, criterion, name):
    for first in range(0, 10, 2):
        cases = first, first + 1
        problem = make_problem("darts7", None, criterion=criterion)
        problem = problem._replace(score=recorded_score(golden, name, cases))
        nodes = np.array(large_nodes(DARTS7))
        assert nodes.tolist() == [3, 4, 5]
        selection = project(
            problem,
            [golden[f"{name}_edge_order"][case].tolist() for case in cases],
            [nodes[golden[f"{name}_node_order"][case]].tolist() for case in cases],
        )
        expected = json.loads(str(golden["genotype"]))[name]
        pairs = genotype_pairs(problem, selection)
        for kind, case in enumerate(cases):
            chosen = selection.weights.primitives[kind].argmax(axis=-1)
            np.testing.assert_array_equal(chosen, golden[f"{name}_primitive"][case])
            (kept,) = selection.weights.edges[kind].nonzero()
            np.testing.assert_array_equal(kept, golden[f"{name}_kept_edges"][case])
            dropped = [
                DARTS7.edges.index(tuple(step["dropped"]))
                for step in selection.trace["steps"]
                if step["kind"] == DARTS7.kinds[kind] and "dropped" in step
            ]
            assert dropped == golden[f"{name}_removed_edges"][case].tolist()
            assert pairs[kind] == expected[case]


def test_the_best_cell_of_an_additive_score_is_found_in_any_order(make_problem):
    worth = np.random.default_rng(0).permutation(2 * 14 * 7).reshape(2, 14, 7) + 1.0

    def accuracy(cells, batch):
        present = (cells.primitives > 0) * (cells.edges > 0)[..., None]
        return (present * worth).sum(axis=(1, 2, 3))

    problem = make_problem("darts7", accuracy)
    found = [perturbation(problem._replace(seed=seed)) for seed in range(3)]
    for selection in found:
        for kind in range(2):
            cells = selection.weights
            np.testing.assert_array_equal(
                cells.primitives[kind].argmax(axis=-1), worth[kind].argmax(axis=-1)
            )
            for node in range(2, 6):
                rows = list(DARTS7.in_edges(node))
                best = worth[kind][rows].max(axis=-1).argsort()[-2:]
                kept = cells.edges[kind][rows].nonzero()[0]
                assert sorted(kept) == sorted(best)
    assert mean_agreement([selection.weights for selection in found]) == 1.0
    orders = [
        [step["edge"] for step in s.trace["steps"] if "edge" in step] for s in found
    ]
    assert orders[0] != orders[1]


def test_later_decisions_see_the_earlier_ones(make_problem):
    # primitive 1 of edge 1 is worth most beside primitive 2 of edge 0 alone
    def accuracy(cells, batch):
        rows = cells.primitives[:, 0]
        first, second = rows[:, 0], rows[:, 1]
        alone = (first[:, 2] == 1) * (second[:, 1] > 0)
        return 5.0 * (first[:, 2] > 0) + 3.0 * (second[:, 3] > 0) + 9.0 * alone

    problem = make_problem("nasbench201", accuracy)
    rest = list(range(2, 6))
    for order, chosen in (([0, 1, *rest], [2, 1]), ([1, 0, *rest], [2, 3])):
        cells = project(problem, [order], [[]]).weights
        assert cells.primitives[0, :2].argmax(axis=-1).tolist() == chosen


def test_a_space_that_keeps_all_edges_drops_none_and_may_take_none(make_problem):
    def accuracy(cells, batch):  # all but `none` of the last edge is harmless
        return (cells.primitives[:, 0, -1, 0] > 0).astype(float)

    space = SPACES["nasbench201"]
    assert space.primitives[0] == "none" and large_nodes(space) == []
    selection = perturbation(make_problem("nasbench201", accuracy))
    assert selection.weights.edges.min() == 1.0
    genotype = derive(space, as_mixing(space, selection.weights))
    assert genotype.primitives[-1] == "none"
    assert len(selection.trace["steps"]) == 6


def test_none_is_never_kept_where_a_node_keeps_two_edges(make_problem):
    def accuracy(cells, batch):
        return cells.primitives[..., 0].sum(axis=(1, 2))  # of `none`

    selection = perturbation(make_problem("darts8", accuracy))
    assert SPACES["darts8"].primitives[0] == "none"
    assert (selection.weights.primitives.argmax(axis=-1) > 0).all()


def test_edges_keep_primitives_that_they_have(make_problem):
    space = SPACES["robust_s1"]
    assert space.live is not None

    def accuracy(cells, batch):
        return cells.primitives.sum(axis=(1, 2, 3))

    problem = make_problem(space, accuracy)
    chosen = perturbation(problem).weights.primitives.argmax(axis=-1)
    for kind, name in enumerate(space.kinds):
        for edge, choice in enumerate(chosen[kind].tolist()):
            assert space.primitives[choice] in space.primitives_of(name, edge)


def test_weights_are_trained_between_decisions(make_problem):
    calls = []
    problem = make_problem("nasbench201", lambda cells, batch: cells.edges[:, 0, 0])
    problem = problem._replace(finetune=calls.append)
    project(problem, [[5, 4, 3, 2, 1, 0]], [[]])
    decided = [((c.primitives > 0).sum(axis=-1) == 1).sum() for c in calls]
    assert decided == [1, 2, 3, 4, 5]  # not before the first, nor after the last


def test_agreement_counts_edges_and_their_primitives():
    def cell(choices, edges):
        return CellWeights(np.eye(3)[[choices]], np.array([edges], float))

    first, second = cell([0, 1, 2], [1, 1, 0]), cell([0, 2, 2], [1, 1, 0])
    third = cell([0, 1, 2], [0, 1, 1])
    assert agreement(first, second) == (2, 1, 2)
    assert agreement(first, third) == (1, 1, 2)
    assert agreement(second, third) == (1, 0, 2)
    assert mean_agreement([first, second, third]) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert mean_agreement([first]) is None
