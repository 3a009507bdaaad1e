"""Cells whose edges differ in their numbers of primitives change uniformly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution.breeding import offspring, random_population
from egnas_jax.evolution.genes import vector_genes
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.controller.choices import cell_of_choices, policy_of
from egnas_jax.strategies.controller.config import ENASConfig
from egnas_jax.strategies.discrete.cells import cells_of
from egnas_jax.strategies.discrete.swarm import cell_at

# compiles fast, for programs that run once
quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)
SKIP, POOL, CONV = "skip_connect", "max_pool_3x3", "sep_conv_3x3"
NAMES = {1: (SKIP,), 2: (SKIP, CONV), 3: (SKIP, POOL, CONV)}
ALL = Space(
    "all",
    {edge: NAMES[n] for edge, n in (((0, 1), 1), ((0, 2), 3), ((1, 2), 2))},
    num_nodes=2,
    num_inputs=1,
    derive="argmax",
    output="last",
    macro="nasbench201",
)
COUNTS = {(0, 2): 3, (1, 2): 2, (0, 3): 1, (1, 3): 3, (2, 3): 2}
TWO = Space("two", {edge: NAMES[n] for edge, n in COUNTS.items()}, num_nodes=2)
BY_SPACE = pytest.mark.parametrize("space", [ALL, TWO], ids=lambda space: space.name)
NUMBER = 3000


def chosen(space, drawn):
    """Whether each cell has each primitive on each edge, bool[n, G, E, K]."""
    mixings = quick_jit(jax.vmap(cells_of(space).to_mixing))(drawn)
    rows = [
        mixings.primitives[kind] * mixings.edges[kind][..., None]
        for kind in space.kinds
    ]
    return np.stack(rows, axis=1) > 0


def check_uniform(space, drawn):
    """Each primitive of an edge is as frequent as the others, and no other is there."""
    counts = chosen(space, drawn).sum(axis=0)
    for kind, name in enumerate(space.kinds):
        for edge in range(space.num_edges):
            own = space.primitives_of(name, edge)
            row = dict(zip(space.primitives, counts[kind, edge], strict=True))
            total = sum(row.values())
            assert total == sum(row[primitive] for primitive in own)
            expected = total / len(own)
            slack = 4.5 * np.sqrt(expected * (1 - 1 / len(own)))  # standard errors
            assert all(abs(row[primitive] - expected) <= slack for primitive in own)


@BY_SPACE
def test_cells_are_drawn_uniformly(space):
    cells, keys = cells_of(space), jax.random.split(jax.random.key(0), NUMBER)
    check_uniform(space, quick_jit(jax.vmap(cells.genes.random))(keys))
    draw = quick_jit(lambda key: random_population(key, cells.integers, NUMBER))
    vectors = draw(jax.random.key(1))
    check_uniform(space, jax.vmap(cells.from_integers)(vectors))


def numbers_within(space, cells, drawn):
    """Whether every number of a cell is one of its edge."""
    if not space.keeps_two_edges:
        return (np.asarray(drawn) < cells.counts.reshape(-1)).all()
    index = np.array([[0, 1, 0], [2, 3, 4]])  # edges into the two nodes
    edges = index[np.arange(2)[:, None], np.asarray(drawn[..., 0])]
    return (np.asarray(drawn[..., 1]) < cells.counts[0][edges]).all()


@pytest.mark.slow
@BY_SPACE
def test_mutations_and_crossover_stay_within_the_primitives_of_an_edge(space):
    cells, keys = cells_of(space), jax.random.split(jax.random.key(2), NUMBER)
    drawn = quick_jit(jax.vmap(cells.genes.random))(keys)
    mutate = quick_jit(jax.vmap(cells.genes.mutate))
    for _ in range(3):
        drawn = mutate(keys, drawn)
        assert numbers_within(space, cells, drawn)
    vectors = jax.vmap(cells.to_integers)(drawn[:64])
    objectives = jax.random.normal(jax.random.key(3), (64, 2))
    breed = quick_jit(lambda *parents: offspring(keys[0], cells.integers, *parents, 64))
    children = breed(vectors, objectives)
    assert numbers_within(space, cells, jax.vmap(cells.from_integers)(children))


@pytest.mark.slow
@BY_SPACE
def test_swarms_and_controllers_choose_among_the_primitives_of_an_edge(space):
    cells, keys = cells_of(space), jax.random.split(jax.random.key(4), 200)
    size = len(space.kinds) * space.num_edges
    levels = jax.random.uniform(keys[0], (200, size * cells.allowed.shape[-1]))
    bits = jnp.ones((200, size))
    build = quick_jit(jax.vmap(lambda n, b: cell_at(space, cells, n, b, b)))
    particles = build(levels, bits)
    assert numbers_within(space, cells, particles)
    policy = policy_of(space, ENASConfig(hidden=4))
    params = policy.init(jax.random.key(5))
    choices = quick_jit(jax.vmap(policy.sample, (0, None)))(keys, params)
    drawn = quick_jit(jax.vmap(lambda c: cell_of_choices(space, c)))(choices)
    assert numbers_within(space, cells, drawn)
    scores = quick_jit(policy.score)(params, choices[0])
    assert np.isfinite(scores.log_prob).all() and np.isfinite(scores.entropy).all()


def test_a_mutation_changes_one_position_that_has_a_choice_to_any_other_value():
    genes = vector_genes(4, (1, 2, 3, 4), groups=(1, 1, 2))
    parent = jnp.array([0, 1, 2, 0])
    keys = jax.random.split(jax.random.key(6), 3000)
    children = np.asarray(quick_jit(jax.vmap(lambda k: genes.mutate(k, parent)))(keys))
    changed = children != np.asarray(parent)
    assert (changed.sum(axis=1) == 1).all() and not changed[:, 0].any()
    shares = changed.mean(axis=0)
    np.testing.assert_allclose(shares, [0, 1 / 2, 1 / 4, 1 / 4], atol=0.04)
    values, counts = np.unique(children[changed[:, 3], 3], return_counts=True)
    assert values.tolist() == [1, 2, 3]
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.08)


@pytest.mark.parametrize("numbers", [(1, 2), (1, 1, 1), (0, 2, 2)])
def test_numbers_of_choices_that_do_not_fit_are_refused(numbers):
    with pytest.raises(ValueError, match="must be 3 numbers from 1, with one"):
        vector_genes(3, numbers)


def test_spaces_with_equal_sets_have_the_bounds_of_before():
    assert cells_of(SPACES["robust_s1"]).unequal is None
    assert set(cells_of(SPACES["nasbench201"]).integers.upper.tolist()) == {4}
    assert cells_of(ALL).integers.upper.tolist() == [0, 2, 1]
