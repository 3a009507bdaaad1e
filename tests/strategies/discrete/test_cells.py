"""Cells as integers: mutations, mixings and costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution.ageing import tournament_winner
from egnas_jax.nn.cost import count_params, multiply_adds
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.topology_cost import topology_multiply_adds, topology_params
from egnas_jax.space import SPACES, derive
from egnas_jax.strategies.controller.choices import cell_of_choices
from egnas_jax.strategies.discrete.cells import cells_of, distinct_sources, mutated
from egnas_jax.strategies.discrete.cost import make_cost
from egnas_jax.strategies.discrete.swarm import cell_at

DARTS = SPACES["darts7"]
TOPOLOGY = SPACES["nasbench201"]


@functools.cache
def drawn(space, number=12):
    """Random cells."""
    keys = jax.random.split(jax.random.key(0), number)
    return jax.jit(jax.vmap(cells_of(space).genes.random))(keys)


def test_node_first_changes_the_only_edge_of_the_first_node_more_often():
    cell, keys = jnp.zeros(6, jnp.int32), jax.random.split(jax.random.key(2), 3000)

    def share(place):
        genes = cells_of(TOPOLOGY, place).genes
        children = jax.jit(jax.vmap(genes.mutate, (0, None)))(keys, cell)
        return np.mean(np.asarray(children[:, 0]) != 0)

    # of three nodes, and of six edges; four standard deviations are 0.034
    assert share("node_first") == pytest.approx(1 / 3, abs=0.034)
    assert share("uniform") == pytest.approx(1 / 6, abs=0.034)
    with pytest.raises(ValueError, match="node_first, but the space is darts7"):
        cells_of(DARTS, "node_first")


def genotypes(space, cells):
    """The genotypes that the mixings of cells derive."""
    mixings = jax.jit(jax.vmap(cells_of(space).to_mixing))(cells)
    mixings = jax.tree.map(np.asarray, mixings)
    return [
        derive(space, jax.tree.map(lambda leaf, i=i: leaf[i], mixings))
        for i in range(len(cells))
    ]


def test_mutations_of_cells_follow_the_golden_trace(load_golden):
    golden = load_golden("systems/ageing_evolution")
    trace = {
        name.removeprefix("cells_"): values
        for name, values in golden.items()
        if name.startswith("cells_")
    }

    def fitness(cell):
        # the trace's: the sigmoid of the sum of the chosen weights
        where = np.indices(cell.shape[:-1])
        total = trace["table"][*where, cell[..., 0], cell[..., 1]].sum()
        return np.round(1 / (1 + np.exp(-total)), 4)

    @jax.jit
    def bred(population, values, drawn):
        winner = tournament_winner(values, drawn["rivals"])
        child = mutated(
            DARTS,
            population[winner],
            drawn["mutation"],
            drawn["where"],
            pick=drawn["pick"],
            num_allowed=7,
        )
        return winner, child

    population = trace["start"].astype(np.int32)
    values = np.asarray([1 - fitness(cell) for cell in population], np.float32)
    for step in range(len(trace["parent"])):
        names = ("rivals", "mutation", "where", "pick")
        drawn = {name: jnp.asarray(trace[name][step]) for name in names}
        winner, child = bred(population, values, drawn)
        assert winner == trace["parent"][step]
        np.testing.assert_array_equal(child, trace["child"][step])
        value = fitness(np.asarray(child))
        assert value == pytest.approx(trace["child_fitness"][step], abs=1e-12)
        population = np.concatenate([population[1:], np.asarray(child)[None]])
        values = np.append(values[1:], np.float32(1 - value))
    np.testing.assert_array_equal(population, trace["population"])


def test_repairs_are_those_of_the_golden_numbers(load_golden):
    golden = load_golden("systems/nsga2")
    repair = jax.jit(jax.vmap(cells_of(DARTS).integers.repair))
    mutants = jnp.asarray(golden["genes_mutated"], jnp.int32)
    np.testing.assert_array_equal(repair(mutants), golden["genes_repaired"])


def test_bounds_of_integers_are_those_of_the_golden_numbers(load_golden):
    upper = load_golden("systems/nsga2")["genes_upper"]
    np.testing.assert_array_equal(cells_of(DARTS).integers.upper, upper)


def test_cells_as_integers_come_back():
    cells = cells_of(DARTS)
    for cell in np.asarray(drawn(DARTS)[:3]):
        vector = cells.to_integers(cell)
        np.testing.assert_array_equal(cells.from_integers(vector), cell)
        # of the first slot: the primitive, then the source
        assert (vector[0], vector[1]) == (cell[0, 0, 0, 1], cell[0, 0, 0, 0])


@pytest.mark.parametrize("name", ["darts7", "darts8"])
def test_a_mixing_derives_the_cell_that_it_was_made_of(name):
    space = SPACES[name]
    cells = cells_of(space)
    chosen = drawn(space)
    for cell, found in zip(np.asarray(chosen), genotypes(space, chosen), strict=True):
        for row, kind in enumerate(space.kinds):
            for node, block in enumerate(found.blocks(kind)):
                expected = {
                    (space.primitives[cells.allowed[row, 0, primitive]], int(source))
                    for source, primitive in cell[row, node]
                }
                assert set(block) == expected


def test_random_cells_are_uniform_and_have_distinct_sources():
    cells = np.asarray(drawn(DARTS, 3000))
    sources = cells[..., 0]
    assert (sources[..., 0] != sources[..., 1]).all()
    for node in range(4):
        share = np.bincount(sources[:, 0, node].ravel(), minlength=2 + node) / 6000
        np.testing.assert_allclose(share, 1 / (2 + node), atol=0.03)
    assert set(np.unique(cells[..., 1])) == set(range(7))


def test_equal_sources_are_moved_to_the_next():
    cell = np.zeros((2, 4, 2, 2), np.int32)
    cell[0, 3, :, 0] = 4  # the last source of the last node: the next is 0
    cell[1, 2, 1, 0] = 3
    moved = np.asarray(distinct_sources(DARTS, jnp.asarray(cell)))
    assert moved[0, 3, :, 0].tolist() == [4, 0]
    assert moved[1, 2, :, 0].tolist() == [0, 3]
    assert moved[0, 0, :, 0].tolist() == [0, 1]


@pytest.mark.parametrize("cost", ["params", "multiply_adds"])
def test_costs_are_those_of_the_network(cost):
    count = {"params": count_params, "multiply_adds": multiply_adds}[cost]
    cost_of, largest = make_cost(DARTS, 10, cost)
    cells = drawn(DARTS)
    config = NetworkConfig(num_classes=10)
    expected = [count(genotype, config) for genotype in genotypes(DARTS, cells)]
    found = 1e6 * np.asarray(jax.jit(jax.vmap(cost_of))(cells))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert max(found) <= 1e6 * largest


@pytest.mark.slow
@pytest.mark.parametrize("cost", ["params", "multiply_adds"])
def test_costs_of_topologies_are_those_of_the_network(cost):
    count = {"params": topology_params, "multiply_adds": topology_multiply_adds}[cost]
    cost_of, _ = make_cost(TOPOLOGY, 100, cost)
    cells = drawn(TOPOLOGY)
    expected = [count(genotype, 100) for genotype in genotypes(TOPOLOGY, cells)]
    found = 1e6 * np.asarray(jax.jit(jax.vmap(cost_of))(cells))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_choices_of_the_controller_are_a_cell():
    choices = jnp.arange(32)
    cell = np.asarray(cell_of_choices(DARTS, choices))
    first = np.asarray(choices)[:4]  # input, input, primitive, primitive
    assert cell[0, 0].tolist() == [[first[0], first[2]], [first[1], first[3]]]
    second = np.asarray(choices)[16:20]  # the first node of the second kind
    assert cell[1, 0].tolist() == [[second[0], second[2]], [second[1], second[3]]]


def test_bits_of_a_particle_are_repaired_to_two_edges_a_node():
    numbers = np.zeros((2, 14, 7), np.float32)
    numbers[:, :, 2] = 1.0
    bits, velocity = np.zeros((2, 14), np.float32), np.zeros((2, 14), np.float32)
    # the second node has edges 2, 3, 4 from sources 0, 1, 2
    bits[0, 2:5], velocity[0, 2:5] = 1.0, (0.5, -1.0, 2.0)  # three: the largest two
    bits[1, 2:5], velocity[1, 2:5] = (0.0, 1.0, 0.0), (0.1, -9.0, 0.2)  # one is added
    # the last node has edges 9 to 13 from sources 0 to 4; none is set and all are equal
    arrays = (jnp.asarray(a.reshape(-1)) for a in (numbers, bits, velocity))
    cell = np.asarray(
        jax.jit(functools.partial(cell_at, DARTS, cells_of(DARTS)))(*arrays)
    )
    assert sorted(cell[0, 1, :, 0]) == [0, 2]
    assert sorted(cell[1, 1, :, 0]) == [1, 2]
    assert sorted(cell[0, 3, :, 0]) == [0, 1]
    assert (cell[..., 1] == 2).all()
