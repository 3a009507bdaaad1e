"""Cells of other graphs, with primitives of each edge: values, arrays, populations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax import evaluate_population
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_spec import CellSpec
from egnas_jax.nn.init import draw
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.space import SPACES, Space
from egnas_jax.types import Mixing

# two inputs and five nodes; the first input leads to node 2 alone
EDGES = ((0, 2), (1, 2), (1, 3), (2, 3), (1, 4), (3, 4), (2, 5), (4, 5), (3, 6), (5, 6))
PRIMITIVES = ("skip_connect", "none", "avg_pool_3x3")
GRAPH = Space("graph", PRIMITIVES, num_nodes=5, edges=EDGES)
SETS = dict.fromkeys(EDGES, PRIMITIVES) | {
    (1, 2): ("none",),
    (2, 3): ("avg_pool_3x3",),
    (5, 6): ("skip_connect", "avg_pool_3x3"),
}


def random_mixing(space, members=()):
    shape = (*members, space.num_edges, len(space.primitives))
    rng = np.random.default_rng(1)
    draw_weights = functools.partial(rng.uniform, 0.1, 1.0)
    return Mixing(
        {kind: draw_weights(shape).astype(np.float32) for kind in space.kinds},
        {kind: draw_weights(shape[:-1]).astype(np.float32) for kind in space.kinds},
    )


def average(x):
    """Mean of the pixels that a 3x3 window holds, [C, H, W, N]."""
    window = [(0, 0), (1, 1), (1, 1), (0, 0)]
    padded, ones = np.pad(x, window), np.pad(np.ones_like(x), window)
    height, width = x.shape[1:3]
    slices = [
        (slice(None), slice(i, i + height), slice(j, j + width))
        for i in range(3)
        for j in range(3)
    ]
    return sum(padded[at] for at in slices) / sum(ones[at] for at in slices)


def nodes_by_hand(space, inputs, mixing):
    """All nodes of a normal cell, edge by edge in numpy."""
    functions = {"skip_connect": lambda x: x, "none": np.zeros_like}
    functions["avg_pool_3x3"] = average
    nodes = [*inputs, *[0.0] * space.num_nodes]
    for edge, (source, target) in enumerate(space.edges):
        total = sum(
            mixing.primitives["normal"][edge, space.primitives.index(name)]
            * functions[name](nodes[source])
            for name in space.primitives_of("normal", edge)
        )
        nodes[target] = nodes[target] + mixing.edges["normal"][edge] * total
    return nodes[2:]


@pytest.mark.parametrize("output", ["concat", "last"])
@pytest.mark.parametrize("primitives", [PRIMITIVES, SETS], ids=["equal", "sets"])
def test_a_cell_adds_up_the_edges_that_it_has(
    output, primitives, assert_close, quick_jit
):
    derive = "argmax"  # of an edge that has nothing but `none`
    space = Space(
        "g", primitives, num_nodes=5, edges=EDGES, output=output, derive=derive
    )
    live = space.live and space.live[0]
    spec = CellSpec(space, "normal", 1, False, live)
    inputs = tuple(np.random.default_rng(0).normal(size=(2, 2, 4, 4, 3)))
    inputs = tuple(np.asarray(x, np.float32) for x in inputs)
    mixing = random_mixing(space)
    variables = tuple(draw(jax.random.key(0), tree) for tree in init_cell(spec, 2))
    cell = functools.partial(mixed_cell, spec, train=False)
    out, _ = quick_jit(cell)(variables, inputs, mixing)
    nodes = nodes_by_hand(space, inputs, mixing)
    assert_close(out, nodes[-1] if output == "last" else np.concatenate(nodes))


@pytest.fixture
def registered(monkeypatch):
    def register(space):
        monkeypatch.setitem(SPACES, space.name, space)
        return SupernetConfig(
            channels=4,
            layers=2,
            num_classes=3,
            partial_channels=2,
            space=space.name,
        )

    return register


def test_a_population_of_a_graph_equals_its_members_one_by_one(registered, quick_jit):
    config = registered(GRAPH)
    net = make_supernet(config)
    variables = net.init(jax.random.key(0), (8, 8, 1))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(6, 8, 8, 1)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, 6), jnp.int32)
    mixings = random_mixing(GRAPH, members=(3,))
    found = evaluate_population(net, variables, mixings, images, labels)
    apply = quick_jit(net.apply)
    for member in range(3):
        mixing = jax.tree.map(lambda leaf, m=member: leaf[m], mixings)
        logits, _ = apply(variables, images, mixing)
        losses = -jax.nn.log_softmax(logits)[np.arange(6), labels]
        assert found.loss[member] == pytest.approx(float(losses.mean()), rel=1e-5)
        assert found.correct[member] == np.sum(np.argmax(logits, axis=1) == labels)


def test_a_supernet_has_arrays_for_the_primitives_that_its_edges_have(registered):
    def sizes(space):
        net = make_supernet(registered(space))
        shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 8, 1)))
        groups = shapes["params"]["groups"]
        return [
            {name: jax.tree.leaves(leaf)[0].shape[1] for name, leaf in state.items()}
            for state in groups[0]  # of normal cells
        ]

    names = ("sep_conv_3x3", "dil_conv_3x3")
    every = Space("every", names, num_nodes=2)
    assert sizes(every) == [dict.fromkeys(names, n) for n in (2, 2, 1)]
    few = dict.fromkeys(every.edges, names) | {(0, 2): names[:1], (2, 3): names[1:]}
    assert sizes(Space("few", few, num_nodes=2)) == [
        {"sep_conv_3x3": 2, "dil_conv_3x3": 1},
        dict.fromkeys(names, 2),
        {"dil_conv_3x3": 1},
    ]


def test_a_state_without_edges_has_no_arrays():
    names = ("sep_conv_3x3", "skip_connect")
    edges = ((0, 2), (0, 3), (2, 3))
    space = Space("s", names, num_nodes=2, edges=edges, derive="argmax")
    spec, inputs = CellSpec(space, "reduce", 1, False), 2 * (jnp.ones((2, 4, 4, 3)),)
    params, stats = (draw(jax.random.key(0), tree) for tree in init_cell(spec, 2))
    assert params[1] == stats[1] == {}
    mixing = random_mixing(space)
    _, new_stats = jax.eval_shape(
        lambda mixing: mixed_cell(spec, (params, stats), inputs, mixing, train=True),
        mixing,
    )
    assert jax.tree.structure(new_stats) == jax.tree.structure(stats)


def test_another_space_of_the_same_name_gives_another_supernet(registered):
    first = make_supernet(registered(GRAPH))
    assert make_supernet(registered(GRAPH)) is first
    assert (
        make_supernet(registered(dataclasses.replace(GRAPH, output="last")))
        is not first
    )


def test_the_classifier_reads_the_output_of_the_cell(registered):
    for output, features in (("concat", 5 * 16), ("last", 16)):
        config = registered(dataclasses.replace(GRAPH, output=output))
        net = make_supernet(config)
        shapes = jax.eval_shape(lambda n=net: n.init(jax.random.key(0), (8, 8, 1)))
        assert shapes["params"]["classifier"]["kernel"].shape == (3, features)
        assert supernet_multiply_adds(config, 8, image_channels=1) > 0
