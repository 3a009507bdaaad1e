"""Counts follow from the traced functions, of own primitives and of whole networks."""

import functools
import re

import jax
import jax.extend
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas
from own_primitives import CONV_NORM, LAYOUT, SQUEEZE_EXCITE

from egnas_jax.nn import lowering
from egnas_jax.nn.cost import count_params, multiply_adds
from egnas_jax.nn.costs import cost
from egnas_jax.nn.lowering import choice
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.primitive import Primitive
from egnas_jax.nn.primitive_cost import (
    Product,
    edge_expansion,
    edge_multiply_adds,
    edge_params,
    edge_products,
    products_of,
)
from egnas_jax.nn.primitives import PRIMITIVES, register_primitive
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.nn.topology_cost import topology_multiply_adds, topology_params
from egnas_jax.space import SPACES, Genotype, Topology, zoo
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.types import Mixing


@pytest.fixture
def registered():
    """The own primitives in all tables, for the time of a test."""
    own = {p.name: p for p in (CONV_NORM, SQUEEZE_EXCITE)}
    for primitive in own.values():
        register_primitive(primitive)
    yield list(own)
    for name in own:
        del PRIMITIVES[name], FAMILIES[name]


def traced_total(function, *shapes):
    program = jax.make_jaxpr(function)(*shapes).jaxpr
    return sum(product.multiply_adds for product in products_of(program))


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize("channels, stride, side", [(5, 1, 7), (6, 2, 7), (1, 2, 8)])
def test_built_in_edges_are_counted_by_hand(channels, stride, side):
    out, count = (
        -(-side // stride),
        functools.partial(
            edge_multiply_adds, channels=channels, stride=stride, side=side
        ),
    )
    block = channels * (9 + channels) * out**2
    assert count("sep_conv_3x3") == 2 * block
    assert count("dil_conv_3x3") == block
    assert count("nor_conv_3x3") == 9 * channels**2 * out**2
    assert count("conv_7x1_1x7") == 7 * channels**2 * out * (side + out)
    assert count("max_pool_3x3") == count("avg_pool_3x3") == count("none") == 0
    halves = channels // 2 + (channels - channels // 2)
    reduced = channels * halves * out**2 if stride == 2 else 0
    assert count("skip_connect") == reduced


def test_products_come_in_the_order_of_the_program():
    expected = (Product((5, 5), 6, 25 * 6 * 16), Product((1, 1), 1, 36 * 16))
    assert edge_products("dil_conv_5x5", 6, 2, 8) == expected


def test_own_primitives_are_counted_by_hand(registered):
    conv, squeeze = registered
    assert edge_params(conv, 8, 2) == 9 * 64 + 2 * 8
    assert edge_multiply_adds(conv, 8, 2, 7) == 9 * 64 * 4**2
    assert edge_params(squeeze, 8, 1) == 9 * 64 + 16 + (16 + 2) + (16 + 8)
    assert edge_multiply_adds(squeeze, 8, 1, 7) == 9 * 64 * 7**2 + 16 + 16


def test_an_own_primitive_replaces_an_equal_one_at_equal_cost(registered):
    def network(name):
        pairs = [(name, 0), ("skip_connect", 1), (name, 1), (name, 2)]
        genotype = Genotype(pairs, [2, 3], pairs, [2, 3])
        config = NetworkConfig(8, 6, 10, auxiliary=False)
        return count_params(genotype, config), multiply_adds(genotype, config, 16)

    assert network(registered[0]) == network("nor_conv_3x3")


def test_loops_and_conditions_count_what_they_run():
    def layer(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT
        )

    def repeated(x, kernel):
        return lax.scan(lambda x, _: (layer(x, kernel), None), x, length=5)[0]

    def chosen(x, kernel):
        branches = [lambda x: x, lambda x: layer(x, kernel), lambda x: x + 1.0]
        return lax.switch(2, branches, x)

    def remembered(x, kernel):
        return jax.jit(jax.checkpoint(layer))(x, kernel)

    def endless(x, kernel):
        return lax.while_loop(lambda x: jnp.sum(x) > 0.0, lambda x: layer(x, kernel), x)

    shapes, once = (f32(1, 6, 6, 4), f32(3, 3, 4, 4)), 9 * 16 * 36
    assert traced_total(layer, *shapes) == once
    assert traced_total(repeated, *shapes) == 5 * once
    assert traced_total(chosen, *shapes) == once
    assert traced_total(remembered, *shapes) == once
    with pytest.raises(ValueError, match="while loop cannot be counted"):
        traced_total(endless, *shapes)


def test_ragged_dot_products_count_each_row_once():
    rows, matrices, sizes = f32(6, 3), f32(2, 3, 5), jnp.array([2, 4])
    total = traced_total(lambda x, w: lax.ragged_dot(x, w, sizes), rows, matrices)
    assert total == 6 * 3 * 5
    summed = lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), [0], [])

    def gradient(x, y):  # of the matrices: the summed rows belong to two groups
        return lax.ragged_dot_general(x, y, sizes, summed)

    assert traced_total(gradient, rows, f32(6, 5)) == 6 * 3 * 5


def test_products_without_a_reader_count():
    def unread(x, w):
        x @ w
        return x

    assert traced_total(unread, f32(6, 3), f32(3, 5)) == 6 * 3 * 5


def doubled(reference, output):
    output[...] = reference[...] @ reference[...]


def test_products_that_a_program_does_not_show_are_refused():
    x = f32(4, 4)
    kernel = pallas.pallas_call(doubled, out_shape=x, grid=(2,), interpret=True)
    with pytest.raises(ValueError, match="in a kernel of Pallas cannot be counted"):
        traced_total(kernel, x)
    hidden = jax.extend.core.Primitive("scaled_dot")
    hidden.def_abstract_eval(lambda x: x)
    with pytest.raises(ValueError, match="The operation scaled_dot has products that"):
        traced_total(hidden.bind, x)


def loop_in_evaluation(params, batch_stats, x, stride, train):
    if not train:
        x = lax.while_loop(
            lambda y: jnp.max(y) > 1, lambda y: y @ jnp.eye(y.shape[-1]), x
        )
    return x[:, ::stride, ::stride], batch_stats


def test_a_primitive_that_cannot_be_counted_is_named_with_its_line():
    primitive = Primitive(
        "loops", lambda key, channels, stride: ({}, {}), loop_in_evaluation
    )
    place = f"{__file__}:{loop_in_evaluation.__code__.co_firstlineno}"
    try:
        register_primitive(primitive)
        pairs = [("loops", 0), ("loops", 1)]
        message = (
            f"The primitive loops ({place}): apply(stride=1, train=False): Convolut"
            f"ions or dot products in a while loop cannot be counted"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            cost(Genotype(pairs, [2], pairs, [2]), NetworkConfig(4, 3))
    finally:
        PRIMITIVES.pop("loops", None)
        FAMILIES.pop("loops", None)


def test_zeros_of_a_transposed_convolution_do_not_count():
    def upsampled(x, kernel):
        return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)

    total = traced_total(upsampled, f32(1, 6, 6, 4), f32(2, 2, 4, 8))
    assert total == 6 * 6 * 4 * 2 * 2 * 8  # each input pixel meets each weight once


def test_batched_dot_products_count_all_their_axes():
    def attention(queries, keys):
        return jnp.einsum("hqd,hkd->hqk", queries, keys)

    assert traced_total(attention, f32(2, 5, 3), f32(2, 7, 3)) == 2 * 5 * 7 * 3


@pytest.fixture
def traceable(monkeypatch):
    """Networks are traced with every convolution as a convolution."""
    grouped = lowering.LOWERINGS["grouped"]
    monkeypatch.setitem(choice.TABLE, "tpu", {"eval": grouped, "train": grouped})
    with lowering.assume_backend("tpu"):
        yield


@pytest.mark.parametrize(
    "name, frame, layers, side",
    [
        ("DARTS_V2", "cifar", 20, 32),
        ("AmoebaNet", "cifar", 5, 8),
        ("NASNet", "imagenet", 4, 224),  # the last sides are 7
        ("PDARTS", "imagenet", 14, 224),
    ],
)
def test_a_whole_network_traced_gives_the_count(traceable, name, frame, layers, side):
    genotype = zoo[name].genotype
    config = NetworkConfig(6, layers, 10, auxiliary=False, frame=frame)
    network, shape = make_network(genotype, config), (side, side, 3)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), shape))
    total = traced_total(lambda v, x: network.apply(v, x)[0], variables, f32(1, *shape))
    assert total == multiply_adds(genotype, config, side)
    params = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in params) == count_params(genotype, config)


def test_a_network_of_stages_traced_gives_the_count(traceable, registered):
    names = ("nor_conv_3x3", "none", registered[0], "skip_connect", registered[1])
    topology = Topology((*names, "nor_conv_1x1"))
    config = NetworkConfig(8, 8, 10, auxiliary=False, drop_path=0.0)
    network, shape = make_network(topology, config), (12, 12, 3)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), shape))
    total = traced_total(lambda v, x: network.apply(v, x)[0], variables, f32(1, *shape))
    sizes = {"channels": 8, "layers": 8}
    assert total == topology_multiply_adds(topology, 10, 12, **sizes)
    params = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in params) == topology_params(topology, 10, **sizes)


@pytest.mark.parametrize(
    "space, layers, partial",
    [("darts8", 3, 2), ("nasbench201", 5, 1), ("robust_s1", 3, 1)],
)
def test_a_whole_supernet_traced_gives_the_count(traceable, space, layers, partial):
    config = SupernetConfig(8, layers, 10, partial_channels=partial, space=space)
    net, kinds = make_supernet(config), SPACES[space].kinds
    shape = SPACES[space].num_edges, len(SPACES[space].primitives)
    mixing = Mixing(
        {kind: f32(*shape) for kind in kinds}, {kind: f32(shape[0]) for kind in kinds}
    )
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), (16, 16, 3)))
    total = traced_total(
        lambda *given: net.apply(*given)[0], variables, f32(1, 16, 16, 3), mixing
    )
    assert total == supernet_multiply_adds(config, 16)


def test_the_expansion_is_that_of_the_widest_array(registered):
    assert edge_expansion("sep_conv_7x7", 8) == edge_expansion(registered[0], 8) == 1.0

    def widen(params, batch_stats, x, stride, train):
        y = jnp.concatenate([x, x, x], axis=-1)[:, ::stride, ::stride]
        return jnp.maximum(y, 0)[..., : x.shape[-1]], batch_stats

    try:
        widens = Primitive("widens", lambda key, channels, stride: ({}, {}), widen)
        register_primitive(widens)
        assert edge_expansion("widens", 8) == 3.0
    finally:
        PRIMITIVES.pop("widens", None)
        FAMILIES.pop("widens", None)


def test_an_unknown_primitive_has_no_cost():
    with pytest.raises(ValueError, match=re.escape("Unknown primitive 'sep'")):
        edge_params("sep", 8, 1)
