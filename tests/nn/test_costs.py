"""Costs of the network of a cell, and their tables over edges."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import egnas_jax as eg
from egnas_jax.nn.edge_costs import CountedNetwork, EdgeCosts, counted_costs
from egnas_jax.nn.peak_memory import peak_activation_bytes
from egnas_jax.nn.topology_cost import topology_params
from egnas_jax.strategies.random_search import random_child
from egnas_jax.types import Mixing

DARTS = CountedNetwork(eg.NetworkConfig(), 32, 3)
STAGES = CountedNetwork(eg.NetworkConfig(channels=16, layers=17), 32, 3)
# One node that reads both inputs, in both kinds of cells.
PLAIN = eg.Genotype(
    normal=[("skip_connect", 0), ("skip_connect", 1)],
    normal_concat=[2],
    reduce=[("max_pool_3x3", 0), ("skip_connect", 1)],
    reduce_concat=[2],
)


def child(space, seed):
    """A random cell as one-hot rows, and which primitives it has, bool[G, E, K]."""
    mixing = jax.tree.map(np.asarray, random_child(jax.random.key(seed), space))
    kinds = [mixing.primitives[k] * mixing.edges[k][:, None] for k in space.kinds]
    return mixing, np.stack(kinds) > 0


def test_cost_equals_the_separate_counts():
    genotype, config = eg.zoo["DARTS_V2"].genotype, eg.NetworkConfig()
    counted = eg.cost(genotype)
    assert counted.params == eg.count_params(genotype, config) == 3_349_342
    assert counted.multiply_adds == eg.multiply_adds(genotype, config)
    wide = eg.NetworkConfig(channels=48, layers=14, frame="imagenet")
    counted = eg.cost(genotype, wide, image_size=64, image_channels=1)
    assert counted.params == eg.count_params(genotype, wide, image_channels=1)
    assert counted.multiply_adds == eg.multiply_adds(
        genotype, wide, 64, image_channels=1
    )


def test_what_is_no_architecture_is_refused():
    with pytest.raises(ValueError, match="Got 'DARTS_V2'. Give a Genotype"):
        eg.cost("DARTS_V2")


def test_a_topology_is_counted_in_the_published_network():
    cell = eg.Topology(6 * ("nor_conv_3x3",))
    assert eg.cost(cell).params == topology_params(cell)
    small = eg.NetworkConfig(channels=8, layers=5, num_classes=3)
    assert eg.cost(cell, small).params == topology_params(cell, 3, channels=8, layers=5)


def test_a_mixing_costs_what_its_derived_genotype_costs():
    space = eg.SPACES["darts7"]
    mixing, _ = child(space, 0)
    assert eg.cost(mixing, space=space) == eg.cost(eg.derive(space, mixing))
    with pytest.raises(ValueError, match="A mixing needs the space"):
        eg.cost(mixing)
    with pytest.raises(ValueError, match="a genotype needs none"):
        eg.cost(PLAIN, space=space)


def test_the_stages_of_a_space_are_those_of_its_mixing():
    stages = [eg.Stage("reduce", cells=1, stride=2), eg.Stage("normal", width=4 / 3)]
    space = eg.Space("staged", eg.SPACES["darts7"].primitives, macro=stages)
    mixing, _ = child(space, 0)
    config = eg.NetworkConfig(channels=6, layers=3, auxiliary=False)
    whole = dataclasses.replace(config, stages=space.stages)
    counted = eg.cost(eg.derive(space, mixing), whole)
    assert eg.cost(mixing, config, space=space) == counted
    assert eg.cost(mixing, whole, space=space) == counted
    assert counted != eg.cost(eg.derive(space, mixing), config)
    three = eg.Space("three", space.primitives, macro=[*stages, eg.Stage("normal", 3)])
    with pytest.raises(ValueError, match="layers is 3, but .* Nearest: layers=5"):
        eg.cost(mixing, config, space=three)
    other = dataclasses.replace(config, layers=4, stages="normal,reduce/2")
    assert eg.cost(mixing, other, space=space) == eg.cost(
        eg.derive(space, mixing), other
    )


def test_a_topology_has_no_stages():
    config = eg.NetworkConfig(layers=5, stages="normal,reduce*1/2")
    with pytest.raises(ValueError, match=r"stages normal,reduce\*1/2, but .* has one"):
        eg.cost(eg.Topology(6 * ("none",)), config)


def test_peak_of_one_small_network_by_hand():
    # Side 8, C = 2, stem of 6 channels. Layers 0 and 1 are: a reduction at 0 (2 // 3)
    # of 4 channels, and one at 1 (4 // 3) of 8.
    config = eg.NetworkConfig(channels=2, layers=2, auxiliary=False)
    # First cell: both inputs [6, 8, 8] and both preprocessed [4, 8, 8] are the most.
    assert peak_activation_bytes(PLAIN, config, 8) == 4 * (2 * 6 + 2 * 4) * 64
    # With a stem of 3 the nodes are: in a normal cell of 2 channels, newer [6], two
    # preprocessed [2], the sum and an edge: 6 + 2 * 2 + 2 * 2 = 14 < 2 * 6 + 2 * 2.
    deep = dataclasses.replace(config, layers=3)
    assert peak_activation_bytes(PLAIN, deep, 8) == 4 * (2 * 6 + 2 * 2) * 64


def test_peak_grows_with_the_nodes_that_are_held():
    # Four nodes of C channels: the newer input 4 C, four nodes and their concatenation.
    genotype = eg.zoo["DARTS_V2"].genotype
    config = eg.NetworkConfig(channels=4, layers=20, auxiliary=False)
    assert peak_activation_bytes(genotype, config, 8) == 4 * 12 * 4 * 64


def test_peak_of_a_topology_by_hand():
    # Stage 0, C = 2, side 8: the input is read by all nodes, and every node later.
    # Node 3 holds the input, nodes 1 and 2, its sum and one edge.
    cell = eg.Topology(6 * ("nor_conv_1x1",))
    config = eg.NetworkConfig(channels=2, layers=5, auxiliary=False)
    assert peak_activation_bytes(cell, config, 8) == 4 * 5 * 2 * 64
    # A chain holds no more than what a node reads, its sum and one edge.
    names = ["none"] * 6
    names[0] = names[2] = names[5] = "nor_conv_1x1"  # 0-1, 1-2, 2-3
    assert peak_activation_bytes(eg.Topology(names), config, 8) == 4 * 3 * 2 * 64


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_xla_takes_one_to_three_times_the_peak(seed):
    space, side = eg.SPACES["darts7"], 16
    genotype = eg.derive(space, child(space, seed)[0])
    config = eg.NetworkConfig(channels=8, layers=3, auxiliary=False)
    net = eg.make_network(genotype, config)
    variables = jax.eval_shape(
        lambda key: net.init(key, (side, side, 3)), jax.random.key(0)
    )

    def temporary(num_images):
        images = jax.ShapeDtypeStruct((num_images, side, side, 3), jnp.float32)
        program = jax.jit(lambda *args: net.apply(*args)[0])
        compiled = program.lower(variables, images).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # The difference leaves out what does not grow with the images.
    for_one = (temporary(48) - temporary(16)) / 32
    assert 1 <= for_one / peak_activation_bytes(genotype, config, side) <= 3


@pytest.mark.parametrize("space, network", [("darts8", DARTS), ("nasbench201", STAGES)])
@pytest.mark.parametrize("name", ["params", "multiply_adds"])
def test_the_table_of_a_cost_is_exact(space, network, name):
    space = eg.SPACES[space]
    table = counted_costs(space, network, name)
    over = jax.jit(
        lambda mixing, limits: [table.over(space, mixing, n) for n in limits],
        static_argnums=1,
    )
    for seed in range(5):
        mixing, chosen = child(space, seed)
        genotype = eg.derive(space, mixing)
        exact = getattr(eg.cost(genotype, network.config), name)
        assert table.of_choices(chosen) == exact
        assert table.expected(space, mixing) == exact
        limits = exact - 1, exact, exact + 1, 2 * exact
        np.testing.assert_array_equal(
            over(mixing, limits), np.float32([1, 0, -1, -exact])
        )


def test_costs_beyond_32_bits_are_compared_exactly():
    space = eg.SPACES["nasbench201"]
    edges = np.full((1, 6, 5), 3 * 2**31 + 1, np.int64)
    table = EdgeCosts(2**40 + 5, edges)
    mixing, _ = child(space, 0)
    exact = 2**40 + 5 + 6 * (3 * 2**31 + 1)
    signs = [np.sign(table.over(space, mixing, exact + d)) for d in (-1, 0, 1)]
    assert signs == [1, 0, -1]


def test_the_expected_cost_of_an_even_mixing_is_the_mean_of_all_edges():
    space = eg.SPACES["nasbench201"]
    table = counted_costs(space, STAGES, "params")
    even = Mixing({"cell": np.full((6, 5), 0.2)}, {"cell": np.ones(6)})
    cells = [eg.Topology(6 * (name,)) for name in space.primitives]
    mean = np.mean([eg.cost(cell, STAGES.config).params for cell in cells])
    assert table.expected(space, even) == pytest.approx(mean)
