"""Search methods in spaces whose cells lack edges, and whose edges lack primitives."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.network_cost import count_params
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.search.relax import live_rows, softmax_mixing, unflatten
from egnas_jax.space import SPACES, Space, derive
from egnas_jax.space.mixing_arrays import live_mask
from egnas_jax.strategies.controller.choices import cell_of_choices, policy_of
from egnas_jax.strategies.controller.config import ENASConfig
from egnas_jax.strategies.discrete.cells import cells_of
from egnas_jax.strategies.discrete.cost import make_cost
from egnas_jax.strategies.discrete.swarm import cell_at
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.fitness import SIMILARITIES, similarity_as_read
from egnas_jax.strategies.egnas.individuals import individual_rows
from egnas_jax.strategies.egnas.step import egnas_step_direction
from egnas_jax.strategies.p_darts.config import PDARTSConfig
from egnas_jax.strategies.random_search import random_child
from egnas_jax.strategies.snas.gumbel import gumbel_noise, gumbel_softmax

# small programs that run once
quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)
EDGES = ((0, 2), (1, 2), (1, 3), (2, 3), (0, 4), (1, 4), (3, 4))
SETS = {
    (0, 2): ("sep_conv_3x3", "skip_connect"),
    (1, 2): ("skip_connect",),
    (1, 3): ("none", "avg_pool_3x3"),
    (2, 3): ("sep_conv_3x3", "none", "avg_pool_3x3"),
    (0, 4): ("avg_pool_3x3", "skip_connect"),
    (1, 4): ("none", "sep_conv_3x3"),
    (3, 4): ("sep_conv_3x3", "avg_pool_3x3"),
}
TWO_EDGES = Space("two", SETS, num_nodes=3, edges=EDGES)
ALL_EDGES = dataclasses.replace(TWO_EDGES, name="all", derive="argmax")
STAGES = Space(
    "stages",
    {(0, 1): ("nor_conv_1x1", "none"), (1, 2): ("skip_connect", "nor_conv_3x3")},
    num_nodes=2,
    num_inputs=1,
    edges=((0, 1), (1, 2)),
    derive="argmax",
    output="last",
    macro="nasbench201",
)
SPACES_HERE = [TWO_EDGES, ALL_EDGES, STAGES]
by_space = pytest.mark.parametrize("space", SPACES_HERE, ids=lambda space: space.name)
by_space_quick = pytest.mark.parametrize(
    "space",
    [TWO_EDGES, pytest.param(ALL_EDGES, marks=pytest.mark.slow), STAGES],
    ids=lambda space: space.name,
)


def at(tree, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf[index]), tree)


def check_mixing(space, mixing):
    """The mixing has primitives that its edges have, and derives its own cell."""
    genotype = derive(space, mixing)
    for kind in space.kinds:
        rows, kept = mixing.primitives[kind], mixing.edges[kind] > 0
        assert (rows.sum(axis=1) == 1).all()
        assert not (rows > 0)[kept][~live_mask(space, kind)[kept]].any()
        edges = {
            (space.primitives[rows[e].argmax()], source)
            for e, (source, _) in enumerate(space.edges)
            if kept[e]
        }
        if space.keeps_two_edges:
            assert kept.sum() == 2 * space.num_nodes
            assert {pair for pair in getattr(genotype, kind)} == edges
        else:
            assert kept.all()
    return genotype


@by_space_quick
def test_random_children_have_what_their_edges_have(space):
    keys = jax.random.split(jax.random.key(0), 20)
    children = quick_jit(jax.vmap(lambda key: random_child(key, space)))(keys)
    genotypes = {check_mixing(space, at(children, i)) for i in range(20)}
    assert len(genotypes) > 2


@by_space_quick
def test_cells_are_drawn_mutated_and_priced_within_the_space(space):
    cells = cells_of(space)
    keys = jax.random.split(jax.random.key(1), 20)
    drawn = quick_jit(jax.vmap(cells.genes.random))(keys)
    mutants = quick_jit(jax.vmap(cells.genes.mutate))(keys, drawn)
    repaired = quick_jit(jax.vmap(cells.integers.repair))(
        jnp.broadcast_to(cells.integers.upper, (20, *cells.integers.upper.shape))
    )
    for some in (drawn, mutants, jax.vmap(cells.from_integers)(repaired)):
        mixings = quick_jit(jax.vmap(cells.to_mixing))(some)
        for index in range(20):
            check_mixing(space, at(mixings, index))
    np.testing.assert_array_equal(
        jax.vmap(cells.from_integers)(jax.vmap(cells.to_integers)(drawn)), drawn
    )


@by_space
def test_the_cost_of_a_cell_is_that_of_its_network(space):
    cells = cells_of(space)
    keys = jax.random.split(jax.random.key(1), 5)
    drawn = quick_jit(jax.vmap(cells.genes.random))(keys)
    mixings = quick_jit(jax.vmap(cells.to_mixing))(drawn)
    config = NetworkConfig()
    if space.macro == "nasbench201":
        config = NetworkConfig(channels=16, layers=17, auxiliary=False)
    expected = [count_params(derive(space, at(mixings, i)), config) for i in range(5)]
    cost, largest = make_cost(space, 10, "params")
    found = 1e6 * np.asarray(quick_jit(jax.vmap(cost))(drawn))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert max(expected) <= 1e6 * largest


@pytest.mark.slow
@by_space
def test_controllers_and_swarms_stay_within_the_space(space):
    policy, cells = policy_of(space, ENASConfig(hidden=8)), cells_of(space)
    params = policy.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 20)
    choices = quick_jit(jax.vmap(policy.sample, (0, None)))(keys, params)
    drawn = jax.vmap(lambda c: cell_of_choices(space, c))(choices)
    size = len(space.kinds) * space.num_edges
    num_allowed = cells.allowed.shape[-1]
    numbers = jax.random.uniform(jax.random.key(2), (20, size * num_allowed))
    bits = jax.random.bernoulli(jax.random.key(3), shape=(20, size)).astype(float)
    particles = jax.vmap(lambda n, b: cell_at(space, cells, n, b, b))
    for some in (drawn, particles(numbers, bits)):
        mixings = quick_jit(jax.vmap(cells.to_mixing))(some)
        for index in range(20):
            check_mixing(space, at(mixings, index))


def rows_of(space, seed):
    z = jax.random.normal(jax.random.key(seed), (space.dim,))
    return unflatten(space, z)


@by_space_quick
def test_a_relaxation_is_the_softmax_over_the_primitives_that_an_edge_has(space):
    alpha = rows_of(space, 0)
    noise = gumbel_noise(jax.random.key(1), alpha)

    def squares(alpha):
        rows = softmax_mixing(alpha, space).primitives
        return sum(jnp.sum(row**2) for row in rows.values())

    @quick_jit
    def results(alpha):
        sample = gumbel_softmax(live_rows(space, alpha), noise, 0.5)
        return softmax_mixing(alpha, space).primitives, sample, jax.grad(squares)(alpha)

    alpha, results = jax.device_get((alpha, results(alpha)))
    for kind in space.kinds:
        mask = live_mask(space, kind)
        rows, sample, gradient = (tree[kind] for tree in results)
        exp = np.exp(alpha[kind]) * mask
        np.testing.assert_allclose(
            rows, exp / exp.sum(axis=1, keepdims=True), rtol=1e-5
        )
        np.testing.assert_allclose(sample.sum(axis=1), 1, rtol=1e-6)
        for found in (rows, sample, gradient):
            assert np.isfinite(found).all() and (found[~mask] == 0).all()


OPTIONS = [
    EGNASConfig(),
    EGNASConfig.variant("official"),
    EGNASConfig(direction="z"),
    EGNASConfig(direction="z_minus_alpha", individual_mixing="normalised_softmax"),
]


@by_space
def test_egnas_depends_on_nothing_that_an_edge_lacks(space):
    """Equal values in the entries that live, others elsewhere: equal results."""
    alpha, z = rows_of(space, 0), rows_of(space, 1)
    others = [live_rows(space, rows, dead=7.0) for rows in (alpha, z)]

    def results(alpha, z):
        values = [similarity_as_read(alpha, z, r, space) for r in SIMILARITIES]
        for options in OPTIONS:
            values.append(individual_rows(z, options, space))
            values.append(egnas_step_direction(z, alpha, options, space))
        return values

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        results(alpha, z),
        results(*others),
    )
    steps = egnas_step_direction(z, alpha, EGNASConfig(), space)
    for step in steps.values():
        np.testing.assert_allclose(step.sum(axis=1), 0, atol=1e-6)


def test_p_darts_says_why_it_refuses_a_space(monkeypatch):
    for space in SPACES_HERE:
        monkeypatch.setitem(SPACES, space.name, space)
        size = {"layers": 5, "partial_channels": 1, "space": space.name}
        with pytest.raises(ValueError, match="edges all have the same primitives"):
            PDARTSConfig().plan(SupernetConfig(**size), 75)
