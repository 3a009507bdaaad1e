"""Ageing evolution against a trace that was computed elsewhere."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution import ageing_evolution, vector_genes
from egnas_jax.evolution.ageing import tournament_winner
from egnas_jax.evolution.genes import shifted
from egnas_jax.strategies.discrete.generations import WORST, BlackBoxState, with_best


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/ageing_evolution")


def accuracy(table, solution):
    """The trace's own fitness, of which higher is better, in float64."""
    total = table[np.arange(len(solution)), solution].sum()
    return np.round(1 / (1 + np.exp(-total)), 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table", "wide"])
def test_the_queue_follows_the_golden_trace(golden, name):
    sizes = json.loads(str(golden["config"]))[name]
    trace = {key.removeprefix(f"{name}_"): golden[key] for key in golden}
    size = sizes["population"]
    ageing = ageing_evolution(sizes["dim"], sizes["choices"], size, sizes["tournament"])
    start_fitness = jnp.asarray(1 - trace["start_fitness"], jnp.float32)
    start = jnp.asarray(trace["start"], jnp.int32)
    state = ageing.tell_many(ageing.init(), start, start_fitness)
    tell = jax.jit(ageing.tell)

    @jax.jit
    def bred(state, rivals, place, shift):
        winner = tournament_winner(state.fitness, (state.count + rivals) % size)
        child = shifted(state.solutions[winner], place, shift, sizes["choices"])
        return (winner - state.count) % size, child

    # the search's answer, of which the golden numbers have the place in the history
    best = BlackBoxState((), start[:1], jnp.full((1,), WORST))
    keep_best = jax.jit(with_best)
    best, history = keep_best(best, start, start_fitness), list(trace["start"])

    columns = "rivals place shift parent child child_fitness best_in_history".split()
    for drawn in zip(*(trace[column] for column in columns), strict=True):
        *numbers, expected_parent, expected_child, expected_fitness, best_place = drawn
        parent, child = bred(state, *map(jnp.asarray, numbers))
        assert parent == expected_parent
        np.testing.assert_array_equal(child, expected_child)
        fitness = accuracy(trace["table"], np.asarray(child))
        assert fitness == pytest.approx(expected_fitness, abs=1e-12)
        state = tell(state, child, jnp.float32(1 - fitness))
        best = keep_best(best, child[None], jnp.float32([1 - fitness]))
        history.append(expected_child)
        np.testing.assert_array_equal(best.best[0], history[best_place])
    oldest_first = (state.count + jnp.arange(size)) % size
    np.testing.assert_array_equal(state.solutions[oldest_first], trace["population"])


def test_a_group_is_drawn_before_a_position():
    genes = vector_genes(6, 5, groups=(1, 2, 3))
    keys = jax.random.split(jax.random.key(0), 3000)
    start = jnp.zeros(6, jnp.int32)
    children = jax.jit(jax.vmap(lambda key: genes.mutate(key, start)))(keys)
    changed = np.asarray(children) != 0
    assert (changed.sum(axis=1) == 1).all()
    # 4 standard deviations of a third are 0.035
    expected = [1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9]
    np.testing.assert_allclose(changed.mean(axis=0), expected, atol=0.035)


def test_many_solutions_are_told_as_one_after_the_other():
    ageing = ageing_evolution(3, 4, population_size=4, tournament_size=2)
    solutions = jnp.arange(18, dtype=jnp.int32).reshape(6, 3) % 4
    fitness = jnp.asarray([0.3, jnp.nan, 0.1, 0.5, 0.2, 0.7])
    tell, tell_many = jax.jit(ageing.tell), jax.jit(ageing.tell_many)
    one_by_one = ageing.init()
    for solution, value in zip(solutions, fitness, strict=True):
        one_by_one = tell(one_by_one, solution, value)
    together = tell_many(ageing.init(), solutions[:3], fitness[:3])
    together = tell_many(together, solutions[3:], fitness[3:])
    for leaf, other in zip(
        jax.tree.leaves(one_by_one), jax.tree.leaves(together), strict=True
    ):
        np.testing.assert_array_equal(leaf, other)
    with pytest.raises(ValueError, match="5 solutions are told at once"):
        ageing.tell_many(together, solutions[:5], fitness[:5])


@pytest.mark.parametrize("groups", [(1, 2), (0, 6), (7,)])
def test_groups_that_do_not_cover_the_positions_are_refused(groups):
    with pytest.raises(ValueError, match="groups are"):
        vector_genes(6, 5, groups)
