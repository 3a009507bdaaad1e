"""Tests of ageing evolution over choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution import ageing_evolution


@pytest.fixture(scope="module")
def ageing():
    """A population of three solutions of four positions with five choices each."""
    return ageing_evolution(4, 5, population_size=3, tournament_size=50)


def state_of(ageing, pairs, dim=4):
    """The state after solutions that repeat one choice, given as (choice, fitness)."""
    state = ageing.init()
    for choice, fitness in pairs:
        state = ageing.tell(state, jnp.full(dim, choice), jnp.float32(fitness))
    return state


def asked(ageing, state, count):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.vmap(lambda key: ageing.ask(key, state))(keys))


def test_a_child_replaces_the_oldest_solution_not_the_worst(ageing):
    state = state_of(ageing, [(0, 0.1), (1, 0.9), (2, 0.5), (3, 0.7)])
    np.testing.assert_allclose(state.fitness, [0.7, 0.9, 0.5])
    np.testing.assert_array_equal(state.solutions[:, 0], [3, 1, 2])


def test_a_child_differs_from_the_best_of_the_tournament_in_one_position(ageing):
    # A tournament of 50 draws out of 3 practically always includes the best.
    children = asked(ageing, state_of(ageing, [(0, 0.3), (1, 0.1), (2, jnp.nan)]), 300)
    changed = children != 1
    assert (changed.sum(axis=1) == 1).all()
    assert set(children[changed]) == {0, 2, 3, 4}
    np.testing.assert_allclose(changed.mean(axis=0), 0.25, atol=0.1)


@pytest.mark.slow
def test_solutions_are_uniform_until_the_population_is_complete(ageing):
    solutions = asked(ageing, state_of(ageing, [(0, 0.3), (1, 0.1)]), 2000)
    shares = np.asarray(jax.nn.one_hot(solutions, 5)).mean(axis=0)
    np.testing.assert_allclose(shares, 0.2, atol=0.04)


def test_any_solution_can_win_a_tournament_of_one():
    ageing = ageing_evolution(2, 3, population_size=3, tournament_size=1)
    children = asked(
        ageing, state_of(ageing, [(0, 0.0), (1, 1.0), (2, 2.0)], dim=2), 300
    )
    # The position that did not change shows the parent.
    pairs = {tuple(sorted(child)) for child in children.tolist()}
    assert pairs == {(0, 1), (0, 2), (1, 2)}


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((0, 5, 3, 2), "dim is 0"),
        ((4, 1, 3, 2), "num_choices is 1"),
        ((4, 5, 1, 2), "population_size is 1"),
        ((4, 5, 3, 0), "tournament_size is 0"),
    ],
)
def test_sizes_that_cannot_work_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        ageing_evolution(*sizes)
