"""Crossover and mutation of integers against pymoo 0.3.0's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution.integer_operators import (
    polynomial_mutation,
    random_cuts,
    random_integers,
    two_point_crossover,
)


@pytest.fixture(scope="module")
def golden(load_golden):
    arrays = load_golden("systems/nsga2")
    return {
        name.removeprefix("genes_"): jnp.asarray(
            arrays[name], jnp.float32 if arrays[name].dtype.kind == "f" else jnp.int32
        )
        for name in arrays
        if name.startswith("genes_")
    }


def test_the_middle_parts_of_two_parents_are_swapped(golden):
    parents = golden["parents"]
    children = jax.vmap(two_point_crossover)(
        parents[:, 0], parents[:, 1], golden["cuts"]
    )
    np.testing.assert_array_equal(children, golden["children"])


def test_mutations_are_those_of_pymoo(golden):
    upper = golden["upper"]
    mutate = jax.jit(jax.vmap(lambda s, g, u: polynomial_mutation(s, upper, g, u)))
    mutated = mutate(golden["children"][:, 0], golden["gate"], golden["uniform"])
    expected = np.asarray(golden["mutated"])
    assert (expected != np.asarray(golden["children"][:, 0])).sum() > 30
    np.testing.assert_array_equal(mutated, expected)


def test_cuts_are_two_different_inner_positions():
    keys = jax.random.split(jax.random.key(0), 500)
    cuts = np.asarray(jax.vmap(lambda key: random_cuts(key, 5))(keys))
    pairs = {tuple(pair) for pair in cuts.tolist()}
    assert pairs == {(a, b) for a in range(1, 5) for b in range(a + 1, 5)}


def test_random_integers_and_mutations_stay_within_their_bounds():
    upper = jnp.asarray([0, 1, 6, 7])
    drawn = jax.jit(random_integers)(jax.random.key(0), jnp.tile(upper, (400, 1)))
    gate = jnp.zeros((400, 4))
    uniform = jax.random.uniform(jax.random.key(1), (400, 4))
    mutate = jax.jit(jax.vmap(lambda s, g, u: polynomial_mutation(s, upper, g, u)))
    moved = mutate(drawn, gate, uniform)
    for solutions in (np.asarray(drawn), np.asarray(moved)):
        np.testing.assert_array_equal(solutions.min(axis=0), 0)
        np.testing.assert_array_equal(solutions.max(axis=0), upper)
