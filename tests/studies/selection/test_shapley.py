"""Shapley values: the reference's numbers, and games whose values are known."""

import itertools

import numpy as np
import pytest

from egnas_jax.space import SPACES, Space, derive
from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.studies.selection.cells import Scores
from egnas_jax.studies.selection.leave_one_out import leave_one_out
from egnas_jax.studies.selection.score import as_mixing
from egnas_jax.studies.selection.shapley import (
    contributions,
    select_by_permutations,
    shapley,
    standardised,
)

SMALL = Space(  # two edges into one node, two primitives: eight players of two kinds
    name="small", primitives=("skip_connect", "max_pool_3x3"), num_nodes=1
)


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/shapley")


def test_values_and_alphas_are_those_of_the_reference(golden, make_problem):
    running, alpha = golden["running_start"], golden["alpha_start"]
    for round_ in range(3):
        whole = golden["accuracy_whole"][round_]
        after = golden["accuracy_after_removal"][round_]

        def score(cells, batch, whole=whole, after=after):
            removed = (cells.primitives == 0).sum(axis=(1, 2, 3))
            path = np.concatenate([whole[batch, None], after[batch]])
            return Scores(-path[removed], path[removed])

        problem = make_problem("darts7", None, batches=10)._replace(score=score)
        permutations = golden["permutation"][round_].astype(int)
        selection = select_by_permutations(problem, permutations)
        value = [selection.trace["value"][kind] for kind in ("normal", "reduce")]
        expected = golden["value"][round_].reshape(2, 14, 7)
        np.testing.assert_allclose(value, expected, atol=1e-5)
        z_score = selection.weights.primitives
        np.testing.assert_allclose(z_score, golden["z_score"][round_], atol=1e-5)
        # the reference goes on from here during a search
        running = 0.8 * running + 0.2 * z_score
        alpha = alpha + 0.1 * running
        np.testing.assert_allclose(running, golden["running"][round_], atol=1e-5)
        np.testing.assert_allclose(alpha, golden["alpha"][round_], atol=1e-5)


def present(cells):
    return (cells.primitives > 0).reshape(len(cells.primitives), -1)


def test_any_permutations_give_the_exact_values_of_an_additive_game(make_problem):
    worth = np.array([3.0, 0.5, 2.0, 1.0, 0.25, 4.0, 1.5, 0.125])
    problem = make_problem(
        SMALL, lambda cells, batch: present(cells) @ worth, value="mean", truncation=0.0
    )
    problem = problem._replace(seed=3)
    value = np.array(list(shapley(problem).trace["value"].values())).ravel()
    np.testing.assert_allclose(value, worth)


def test_all_permutations_give_the_exact_values_of_a_game_with_pairs(make_problem):
    # v(S) = sum of squares of the number of players of each edge and kind in S: by
    # symmetry each of the two players of an edge gets half of 4
    def accuracy(cells, batch):
        return ((cells.primitives > 0).sum(axis=-1) ** 2).sum(axis=(1, 2))

    problem = make_problem(SMALL, accuracy, value="mean", truncation=0.0)
    orders = np.array(list(itertools.permutations(range(4))))
    orders = np.concatenate([orders, np.tile([4, 5, 6, 7], (24, 1))], axis=1)
    selection = select_by_permutations(problem, orders)
    np.testing.assert_allclose(selection.trace["value"]["normal"], 2.0)
    # in the reduction cell the order is always the same: 3 for the first, then 1
    np.testing.assert_allclose(selection.trace["value"]["reduce"], [[3, 1], [3, 1]])


def test_an_unsteady_contribution_counts_less_by_the_published_value(make_problem):
    def accuracy(cells, batch):
        worth = np.array([2.0, 1.5, 0, 0, 0, 0, 0, 0]) + 100
        worth[0] += 1.0 if batch else -1.0
        return present(cells) @ worth

    orders = np.tile(np.arange(8), (2, 1))
    for value, first in (("mean", 2.0), ("mean-std", 1.0)):
        problem = make_problem(SMALL, accuracy, value=value, batches=2, truncation=0.0)
        values = select_by_permutations(problem, orders).trace["value"]["normal"]
        assert values[0] == pytest.approx([100 + first, 101.5])


def test_a_permutation_ends_where_little_accuracy_is_left(make_problem):
    blocks = []

    def accuracy(cells, batch):
        blocks.append(len(cells.edges))
        return present(cells).mean(axis=1)

    problem = make_problem("darts7", accuracy, truncation=0.9)
    order = np.random.default_rng(1).permutation(196)
    result = contributions(problem, order, 0)
    credited = order[:20]  # 0.9 of 196 is 176.4: the 20th removal leaves 176
    np.testing.assert_allclose(result[credited], 1 / 196)
    assert np.delete(result, credited).max() == 0
    assert blocks == [1, 32]


def test_values_are_standardised_in_each_kind_of_cell():
    value = np.array([[[1.0, 2.0], [3.0, 9.0]], [[5.0, 5.0], [5.0, 7.0]]])
    allowed = np.ones(value.shape, bool)
    allowed[0, 1, 1] = allowed[1, 1, 1] = False
    expected = [[[-1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    np.testing.assert_allclose(standardised(value, allowed), expected)


def test_leave_one_out_takes_what_costs_most_alone(make_problem):
    worth = np.random.default_rng(2).permutation(196) + 1.0
    problem = make_problem("darts7", lambda cells, batch: present(cells) @ worth)
    selection = leave_one_out(problem)
    importance = selection.weights.primitives
    np.testing.assert_allclose(importance.ravel(), worth)
    space = SPACES["darts7"]
    genotype = derive(space, as_mixing(space, selection.weights))
    normal = worth.reshape(2, 14, 7)[0]
    rows = list(space.in_edges(5))
    best = sorted(rows, key=lambda row: -normal[row].max())[:2]
    expected = [
        (space.primitives[normal[row].argmax()], space.edges[row][0]) for row in best
    ]
    assert list(genotype.normal[6:]) == expected


@pytest.mark.parametrize("select", [leave_one_out, shapley])
def test_primitives_that_no_cell_may_have_are_no_players(make_problem, select):
    touched = []

    def accuracy(cells, batch):
        touched.append((cells.primitives[..., 0] == 0).all())  # of `none`
        return np.ones(len(cells.edges))

    space = SPACES["darts8"]
    allowed = derivable_masks(space)
    assert not allowed[..., 0].any()
    selection = select(make_problem("darts8", accuracy))
    assert all(touched)  # the toy supernet mixes allowed primitives alone
    assert (selection.weights.primitives == 0).all()  # nothing costs anything


def test_a_loss_that_is_not_finite_is_the_largest_cost(make_problem):
    def accuracy(cells, batch):
        return np.where(cells.primitives[:, 0, 2, 4] == 0, np.nan, 1.0)

    importance = leave_one_out(make_problem("darts7", accuracy, criterion="loss"))
    rows = importance.weights.primitives
    assert rows[0, 2, 4] == rows.max() > 0 and np.isfinite(rows).all()
