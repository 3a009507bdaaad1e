"""Networks of a list of stages have its cells, are counted, and compute as DARTS's."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from traced_program import traced_program

from egnas_jax.nn import lowering
from egnas_jax.nn.edge_costs import CountedNetwork, counted_costs
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig, cell_plan
from egnas_jax.nn.network_cost import (
    count_params,
    multiply_adds,
    published_network,
)
from egnas_jax.nn.primitive_cost import products_of
from egnas_jax.nn.supernet import halvings_of, make_supernet
from egnas_jax.nn.supernet_config import SupernetConfig, cells_of, groups_of
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import SPACES, Genotype, Space, Stage

PRIMITIVES = "skip_connect", "sep_conv_3x3"
DARTS = Space("as_darts", PRIMITIVES, num_nodes=2)
OF_FIVE = "normal*1,reduce*1/2,normal*1,reduce*1/2,normal*1"
LISTED = dataclasses.replace(DARTS, name="listed", stages=OF_FIVE)
# four stages, of which one halves the image with its first cell alone
WIDER = (
    Stage("normal"),
    Stage("reduce", 2, stride=2),
    Stage("normal", width=1.5),
    Stage("normal", 1, stride=2, width=4),
)
STAGED = Space("staged", PRIMITIVES, num_nodes=2, macro=WIDER)
PAIRS = [("skip_connect", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0)]
NORMAL, REDUCE = [*PAIRS, ("skip_connect", 2)], [*PAIRS, ("sep_conv_3x3", 2)]
CELLS = Genotype(NORMAL, (2, 3), REDUCE, (2, 3))
# whose programs have convolutions as such
PLAIN = Genotype.parse(CELLS.format().replace("sep_conv", "nor_conv"))
SIDE = 16


@pytest.fixture(autouse=True)
def spaces(monkeypatch):
    for space in (DARTS, LISTED, STAGED):
        monkeypatch.setitem(SPACES, space.name, space)


def supernet(space, layers, **sizes):
    return make_supernet(SupernetConfig(space=space, layers=layers, **sizes))


def shapes_of(net):
    return jax.eval_shape(lambda: net.init(jax.random.key(0), (SIDE, SIDE, 3)))


def run(net, **options):
    """(variables, images) -> logits, under equal weights."""
    shape = DARTS.num_edges, len(PRIMITIVES)
    mixing = softmax_mixing(dict.fromkeys(DARTS.kinds, jnp.zeros(shape)))
    return lambda variables, x: net.apply(variables, x, mixing, **options)


def images():
    return jax.ShapeDtypeStruct((2, SIDE, SIDE, 3), jnp.float32)


def num_weights(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_the_stages_of_darts_as_a_list_are_the_same_program():
    programs = []
    for space in ("as_darts", "listed"):
        net = supernet(space, 5, channels=4)
        variables = shapes_of(net)
        programs.append(traced_program(run(net, train=True), variables, images()))
    assert programs[0] == programs[1]
    config, programs = NetworkConfig(channels=4, layers=5, auxiliary=True), []
    for stages in (None, OF_FIVE):
        net = make_network(CELLS, dataclasses.replace(config, stages=stages))
        variables = jax.eval_shape(lambda net=net: net.init(jax.random.key(0)))
        x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        programs.append(traced_program(net.apply, variables, x))
    assert programs[0] == programs[1]


def test_cells_have_the_kinds_widths_and_strides_of_their_stages():
    config = SupernetConfig(space="staged", layers=7, channels=8)
    cells = [(c.kind, c.channels, c.reduction) for c in cells_of(config)]
    assert cells == [
        ("normal", 8, False),
        ("normal", 8, False),
        ("reduce", 16, True),
        ("reduce", 16, False),
        ("normal", 12, False),
        ("normal", 12, False),
        ("normal", 32, True),
    ]
    assert groups_of(config) == ((0, 1), (2,), (3,), (4, 5), (6,))
    network = NetworkConfig(channels=8, layers=7, stages=STAGED.stages, auxiliary=False)
    derived = [(c.kind, c.channels, c.reduction) for c in cell_plan(CELLS, network)]
    assert derived == cells


def test_networks_of_stages_are_counted_as_they_are_built():
    network = NetworkConfig(channels=8, layers=7, stages=STAGED.stages, auxiliary=False)
    net = make_network(PLAIN, network)
    variables = shapes_of(net)
    assert num_weights(variables) == count_params(PLAIN, network)
    # a loop over cells counts as if all had the widest inputs: here there is none
    searched = supernet("staged", 5, channels=8, lowering="grouped")
    assert all(len(group) == 1 for group in groups_of(searched.config))
    one = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    with lowering.assume_backend("tpu"):  # which computes convolutions as such
        derived = jax.make_jaxpr(net.apply)(variables, one).jaxpr
        mixed = jax.make_jaxpr(run(searched))(shapes_of(searched), one).jaxpr
    for program, count in (
        (derived, multiply_adds(PLAIN, network, SIDE)),
        (mixed, supernet_multiply_adds(searched.config, SIDE)),
    ):
        assert sum(product.multiply_adds for product in products_of(program)) == count


def test_costs_add_up_over_the_edges_of_a_network_of_stages():
    network = published_network("darts", STAGED.stages)
    assert network.layers == 19 and network.stages == STAGED.stages
    costs = counted_costs(STAGED, CountedNetwork(network, 32, 3), "params")
    chosen = jnp.zeros(costs.edges.shape, bool)
    for kind, name in enumerate(STAGED.kinds):
        for primitive, *edge in CELLS.edges_of(name):
            place = STAGED.edges.index(tuple(edge)), PRIMITIVES.index(primitive)
            chosen = chosen.at[kind, *place].set(True)
    assert costs.of_choices(chosen) == count_params(CELLS, network)


def test_images_are_halved_as_often_as_the_stages_say(monkeypatch):
    once = SupernetConfig(space="staged", layers=7, channels=8)
    assert halvings_of(once) == 2
    text = f"{STAGED.stages},reduce*1/2"
    space = dataclasses.replace(STAGED, name="thrice", stages=text)
    monkeypatch.setitem(SPACES, "thrice", space)
    net = supernet("thrice", 8, channels=8)
    with pytest.raises(ValueError, match="divisible by 8, as it halves them 3 times"):
        net.init(jax.random.key(0), (12, 12, 3))
    config = NetworkConfig(channels=8, layers=8, stages=text, auxiliary=False)
    with pytest.raises(ValueError, match="divisible by 8, as it halves them 3 times"):
        make_network(CELLS, config).init(jax.random.key(0), (12, 12, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 6}, "network.layers is 6, but the stages .* Nearest: layers=7"),
        (
            {"channels": 6, "layers": 7},
            "network.channels is 6, so the stage normal\\*2@1.5",
        ),
        ({"stages": "normal*2,reduce*1"}, "network.layers is 20"),
        ({"stages": "normal,reduce*1"}, "none of the stages normal,reduce\\*1 does"),
    ],
)
def test_a_network_that_stages_cannot_have_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**{"channels": 8, "stages": STAGED.stages, **settings})


def test_a_cell_that_halves_the_image_has_no_input_in_its_output():
    cells = dataclasses.replace(CELLS, normal_concat=(1, 3))
    config = NetworkConfig(channels=8, layers=7, stages=STAGED.stages, auxiliary=False)
    with pytest.raises(ValueError, match="The output of the normal cell has its input"):
        make_network(cells, config)
