"""Ageing evolution over choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution import ageing_evolution


@pytest.fixture(scope="module")
def queue():
    """Three solutions of four positions with five choices each."""
    return ageing_evolution(4, 5, population_size=3, tournament_size=50)


def told(queue, pairs):
    state = queue.init()
    for solution, fitness in pairs:
        state = queue.tell(state, jnp.full(4, solution), jnp.float32(fitness))
    return state


def test_a_child_replaces_the_oldest_not_the_worst(queue):
    state = told(queue, [(0, 0.1), (1, 0.9), (2, 0.5), (3, 0.7)])
    np.testing.assert_allclose(state.fitness, [0.7, 0.9, 0.5])
    np.testing.assert_array_equal(state.solutions[:, 0], [3, 1, 2])


def test_a_child_differs_from_the_best_of_the_tournament_in_one_position(queue):
    state = told(queue, [(0, 0.3), (1, 0.1), (2, jnp.nan)])
    children = jax.vmap(lambda key: queue.ask(key, state))(
        jax.random.split(jax.random.key(0), 300)
    )
    # with 50 draws out of 3 the best is always among them
    changed = np.asarray(children) != 1
    assert (changed.sum(axis=1) == 1).all()
    assert set(np.asarray(children)[changed]) == {0, 2, 3, 4}
    np.testing.assert_allclose(changed.mean(axis=0), 0.25, atol=0.1)


def test_until_the_queue_is_full_solutions_are_uniform(queue):
    state = told(queue, [(0, 0.3), (1, 0.1)])
    asked = jax.vmap(lambda key: queue.ask(key, state))(
        jax.random.split(jax.random.key(0), 2000)
    )
    shares = np.asarray(jax.nn.one_hot(asked, 5)).mean(axis=0)
    np.testing.assert_allclose(shares, 0.2, atol=0.04)


def test_a_tournament_of_one_takes_anybody():
    queue = ageing_evolution(2, 3, population_size=3, tournament_size=1)
    state = queue.init()
    for solution in range(3):
        state = queue.tell(state, jnp.full(2, solution), jnp.float32(solution))
    children = jax.vmap(lambda key: queue.ask(key, state))(
        jax.random.split(jax.random.key(0), 300)
    )
    # the position that did not change shows the parent
    pairs = np.asarray(children)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(0, 1), (0, 2), (1, 2)}


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
