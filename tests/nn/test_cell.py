"""The mixed cell equals a plain loop over edges; a scan equals cells in a row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.init import draw, is_leaf
from egnas_jax.nn.layers import batch_norm, factorized_reduce, relu, relu_conv_norm
from egnas_jax.nn.primitives import PRIMITIVES, source_of, with_pool_norm
from egnas_jax.nn.supernet import SupernetConfig, cells_of, groups_of, make_supernet
from egnas_jax.space import SPACES, Space
from egnas_jax.types import Mixing

# Small enough for gradients to compile in seconds: one primitive with weights at every
# stride, one with some at stride 2 alone, one whose norm all edges share.
SMALL = Space(
    name="small",
    primitives=("max_pool_3x3", "skip_connect", "dil_conv_3x3"),
    num_nodes=2,
)
SMALLER = Space("smaller", ("avg_pool_3x3", "dil_conv_3x3"), num_nodes=1)
KERNELS = lowering.LOWERINGS["shifted"]

# Programs that run once had better compile fast.
quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def close(ours, theirs, tolerance=1e-5):
    """Leaf by leaf, relative to the largest value of the leaf."""

    def compare(a, b):
        assert a.shape == b.shape
        scale = max(np.abs(b).max(), 1e-6)
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)

    # on the host, where nothing has to be compiled
    jax.tree.map(compare, jax.device_get(ours), jax.device_get(theirs))


def uniform(key, shape, low, high):
    return jax.random.uniform(jax.random.key(key), shape, minval=low, maxval=high)


def unlike(seed, described, low, high):
    """Arrays of the described shapes, uniform between two bounds, on the host."""
    rng = np.random.default_rng(seed)

    def numbers(leaf):
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree.map(numbers, described, is_leaf=is_leaf)


def unlike_variables(net, image_shape):
    """Weights and running statistics of a network, none of them special."""
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), image_shape))
    return {
        "params": unlike(1, shapes["params"], -1.0, 1.0),
        "batch_stats": unlike(2, shapes["batch_stats"], 0.5, 1.5),
    }


def unlike_mixing(space):
    """Weights of which no two are equal; edge weights on both sides of 1."""
    shape = space.num_edges, len(space.primitives)
    return Mixing(
        {kind: uniform(i, shape, 0.1, 1.0) for i, kind in enumerate(space.kinds)},
        {kind: uniform(i, shape[:1], 0.2, 2.0) for i, kind in enumerate(space.kinds)},
    )


def norm_by_definition(stats, x, train):
    """Batch norm of [C, H, W, N] without scale and bias, and the moved statistics."""
    mean, var = stats["mean"], stats["var"]
    if train:
        count = x[0].size
        mean, var = jnp.mean(x, axis=(1, 2, 3)), jnp.var(x, axis=(1, 2, 3))
        new = {"mean": mean, "var": var * count / (count - 1)}
        stats = jax.tree.map(lambda old, now: 0.9 * old + 0.1 * now, stats, new)
    column = (-1, 1, 1, 1)
    y = (x - mean.reshape(column)) / jnp.sqrt(var.reshape(column) + 1e-5)
    return y, stats


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def one_primitive(name, stride, train, params, stats, x):
    """A primitive on one edge: [C, H, W, N] -> [C, H', W', N]."""
    pool_norm = "pool" in name and stats
    out, moved = PRIMITIVES[name].apply(
        params, {} if pool_norm else stats, source_of(x[None]), stride, train, KERNELS
    )
    if not pool_norm:
        return out.value()[0], moved
    norm = jax.tree.map(lambda leaf: leaf[0], stats["norm"])
    y, norm = norm_by_definition(norm, out.value()[0], train)
    return y, {"norm": jax.tree.map(lambda leaf: leaf[None], norm)}


def one_edge(tree, name, position):
    """Leaves of one edge; one pooling norm serves all that leave a state."""
    at = 0 if "pool" in name else position
    return jax.tree.map(lambda leaf: leaf[at : at + 1], tree.get(name, {}))


def shuffled(x, groups):
    """Channels dealt out: the first of every group, then the second of every group."""
    size = x.shape[0] // groups
    return x[jnp.array([g * size + i for i in range(size) for g in range(groups)])]


def naive_cell(
    space, reduction, partial_channels, params, stats, inputs, primitives, edges, train
):
    """A cell edge by edge, as PC-DARTS defines it.

    Returns:
      The nodes, concatenated, and {(source, primitive, position): new statistics}.
    """
    states, moved, edge = list(inputs), {}, 0
    used = [0] * (2 + space.num_nodes)  # edges seen so far that leave each state
    for node in range(space.num_nodes):
        total = 0.0
        for source in range(2 + node):
            stride = 2 if reduction and source < 2 else 1
            state, position = states[source], used[source]
            active = state.shape[0] // partial_channels
            mixed = 0.0
            for column, name in enumerate(space.primitives):
                out, new = one_primitive(
                    name,
                    stride,
                    train,
                    one_edge(params[source], name, position),
                    one_edge(stats[source], name, position),
                    state[:active],
                )
                mixed += primitives[edge, column] * out
                moved[source, name, position] = new
            bypass = state[active:]
            if stride == 2:
                channels, height, width, images = bypass.shape
                pairs = (channels, height // 2, 2, width // 2, 2, images)
                bypass = bypass.reshape(pairs).max(axis=(2, 4))
            joined = shuffled(jnp.concatenate([mixed, bypass]), partial_channels)
            total += edges[edge] * joined
            used[source], edge = position + 1, edge + 1
        states.append(total)
    return jnp.concatenate(states[2:]), moved


def one_cell(space, channels, partial_channels, reduction, pool_bn):
    """Weights, statistics and both inputs of a cell, none of them special."""
    described = init_cell(space, channels // partial_channels, reduction, pool_bn)
    params, stats = described
    inputs = uniform(8, (2, channels, 8, 8, 8), -2.0, 2.0)
    return unlike(6, params, -1.0, 1.0), unlike(7, stats, 0.5, 1.5), tuple(inputs)


CASES = [  # space, channels, partial channels, reduction, pool_bn, train
    ("darts7", 4, 1, False, False, True),
    ("darts7", 8, 4, True, True, True),
    ("darts8", 4, 4, False, True, False),
    ("darts8", 8, 2, True, False, False),
]


@pytest.mark.parametrize("name, channels, k, reduction, pool_bn, train", CASES)
def test_mixed_cell_equals_a_loop_over_edges(
    name, channels, k, reduction, pool_bn, train
):
    space = SPACES[name]
    params, stats, inputs = one_cell(space, channels, k, reduction, pool_bn)
    mixing = unlike_mixing(space)
    weights = mixing.primitives["normal"], mixing.edges["reduce"]

    cell = functools.partial(mixed_cell, space, reduction, pool_bn, k, train=train)
    out, moved = quick_jit(cell)(params, stats, inputs, *weights)
    expected, by_edge = naive_cell(
        space, reduction, k, params, stats, inputs, *weights, train
    )
    close(out, expected)
    moved, by_edge = jax.device_get((moved, by_edge))
    assert len(by_edge) == 14 * len(space.primitives)
    for (source, name, position), new in by_edge.items():
        close(one_edge(moved[source], name, position), new)
    assert jax.tree.structure(moved) == jax.tree.structure(stats)


def test_gradients_of_mixed_cell_equal_those_of_a_loop_over_edges():
    params, stats, inputs = one_cell(SMALL, 4, 2, True, True)
    mixing = unlike_mixing(SMALL)
    weights = mixing.primitives["reduce"], mixing.edges["reduce"]
    ours = functools.partial(mixed_cell, SMALL, True, True, 2)
    naive = functools.partial(naive_cell, SMALL, True, 2)
    cotangent = uniform(9, (8, 4, 4, 8), -1.0, 1.0)

    def gradients(cell):
        def loss(params, inputs, primitives, edges):
            out, _ = cell(params, stats, inputs, primitives, edges, train=True)
            return jnp.sum(out * cotangent)

        return quick_jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(params, inputs, *weights)

    close(gradients(ours), gradients(naive), 1e-4)


def pooled_by_hand(kind, x, stride):
    """3x3 pooling of [C, H, W, N] pixel by pixel over the pixels that exist."""
    reduce = np.mean if kind == "avg_pool_3x3" else np.max
    _, height, width, _ = x.shape
    rows = [
        [
            reduce(x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2, :], axis=(1, 2))
            for j in range(0, width, stride)
        ]
        for i in range(0, height, stride)
    ]
    return np.moveaxis(np.array(rows), 2, 0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["avg_pool_3x3", "max_pool_3x3"])
def test_a_pooling_norm_scales_each_channel_to_mean_0_and_variance_1(kind, stride):
    primitive = with_pool_norm(kind)
    described = primitive.init(5, 2, stride, False)
    params, stats = (draw(jax.random.key(0), part) for part in described)
    assert not jax.tree.leaves(params)  # without scale and bias
    assert stats["norm"]["mean"].shape == (1, 2)  # one norm for all five edges
    x = np.random.default_rng(3).normal(-3.0, 3.0, (2, 4, 6, 3)).astype(np.float32)
    out, moved = primitive.apply(
        params, stats, source_of(x[None]), stride, True, KERNELS
    )

    pooled = pooled_by_hand(kind, x.astype(np.float64), stride)
    mean, var = pooled.mean(axis=(1, 2, 3)), pooled.var(axis=(1, 2, 3))
    scaled = (pooled - mean[:, None, None, None]) / np.sqrt(
        var[:, None, None, None] + 1e-5
    )
    np.testing.assert_allclose(out.value()[0], scaled, atol=1e-5)
    count = pooled[0].size
    np.testing.assert_allclose(moved["norm"]["mean"][0], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(
        moved["norm"]["var"][0], 0.9 + 0.1 * var * count / (count - 1), rtol=1e-5
    )


def test_a_pooling_norm_of_numbers_worked_out_by_hand():
    # windows of a 2x2 image hold all of it: every maximum is 4 and 8, every mean 1, 2
    x = np.zeros((1, 1, 2, 2, 2), np.float32)
    x[..., 0, 0, :] = 4.0, 8.0
    stats = {"norm": {"mean": jnp.array([[1.0]]), "var": jnp.array([[2.0]])}}
    for kind, mean, deviation in (("max_pool_3x3", 6, 2), ("avg_pool_3x3", 1.5, 0.5)):
        primitive = with_pool_norm(kind)
        out, moved = primitive.apply(
            {"norm": {}}, stats, source_of(x), 1, True, KERNELS
        )
        one = deviation / np.sqrt(deviation**2 + 1e-5)
        np.testing.assert_allclose(out.value()[0, 0, 1, 1], [-one, one], rtol=1e-5)
        # eight pixels: the unbiased variance is 8/7 of the mean square
        np.testing.assert_allclose(moved["norm"]["mean"], 0.9 + 0.1 * mean, rtol=1e-5)
        unbiased = 8 / 7 * deviation**2
        np.testing.assert_allclose(moved["norm"]["var"], 1.8 + 0.1 * unbiased, 1e-5)


def test_poolings_have_no_norm_without_pool_bn():
    for pool_bn in (False, True):
        _, stats = init_cell(SPACES["darts7"], 4, False, pool_bn)
        assert [("avg_pool_3x3" in s, "max_pool_3x3" in s) for s in stats] == (
            [(pool_bn, pool_bn)] * 5
        )


def test_none_adds_nothing():
    space = SPACES["darts8"]
    params, stats, inputs = one_cell(space, 4, 1, True, False)
    primitives = unlike_mixing(space).primitives["normal"]

    @quick_jit
    def run(primitives):
        edges = jnp.ones(14)
        cell = functools.partial(mixed_cell, space, True, False, 1, train=True)
        return cell(params, stats, inputs, primitives, edges)[0]

    out = run(primitives)
    assert float(jnp.abs(out).max(axis=(1, 2, 3)).min()) > 0  # no empty channel
    np.testing.assert_array_equal(run(primitives.at[:, 0].set(9.0)), out)
    assert not run(jnp.zeros((14, 8)).at[:, 0].set(1.0)).any()


def cells_in_a_row(config, variables, images, mixing, train):
    """The search network without groups: one cell after another."""
    params, stats = variables["params"], variables["batch_stats"]
    x = jnp.transpose(images, (3, 1, 2, 0))
    x = lowering.convolve(x, params["stem"]["conv"], (1, 1), (1, 1))
    x, stem = batch_norm(params["stem"]["norm"], stats["stem"], x[None], train)
    older = newer = x[0]
    weights, norms = params["preprocess"], stats["preprocess"]
    preprocess, moved = [], []
    for index, plan in enumerate(cells_of(config)):
        reads = factorized_reduce if plan.reduced_before else relu_conv_norm
        rectified = relu(older) if plan.reduced_before else older
        s0, m0 = reads(weights[index]["s0"], norms[index]["s0"], rectified[None], train)
        s1, m1 = relu_conv_norm(
            weights[index]["s1"], norms[index]["s1"], newer[None], train
        )
        [at] = [
            (position, group.index(index))
            for position, group in enumerate(groups_of(config))
            if index in group
        ]
        own = [
            jax.tree.map(lambda leaf, at=at: leaf[at[1]], part["groups"][at[0]])
            for part in (params, stats)
        ]
        out, new = mixed_cell(
            SPACES[config.space],
            plan.reduction,
            config.pool_bn,
            config.partial_channels,
            *own,
            (s0[0], s1[0]),
            mixing.primitives[plan.kind],
            mixing.edges[plan.kind],
            train,
        )
        older, newer = newer, out
        preprocess.append({"s0": m0, "s1": m1})
        moved.append(new)
    groups = [
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *(moved[i] for i in group))
        for group in groups_of(config)
    ]
    head = params["classifier"]
    logits = jnp.mean(newer, axis=(1, 2)).T @ head["kernel"].T + head["bias"][None]
    return logits, {"stem": stem, "preprocess": preprocess, "groups": groups}


@pytest.mark.parametrize("layers, many", [(9, False), (9, True), (8, False)])
def test_equal_cells_as_a_scan_equal_the_same_cells_in_a_row(monkeypatch, layers, many):
    monkeypatch.setitem(SPACES, SMALLER.name, SMALLER)
    config = SupernetConfig(
        channels=4, layers=layers, partial_channels=2, space=SMALLER.name, pool_bn=True
    )
    # a group behind the stem (of a pair is no loop made), and two behind a reduction,
    # whose first cell reads an image twice as large
    expected = {
        8: ((0, 1), (2,), (3, 4), (5,), (6, 7)),
        9: ((0, 1, 2), (3,), (4, 5), (6,), (7, 8)),
    }
    assert groups_of(config) == expected[layers]
    net = make_supernet(config)
    variables = unlike_variables(net, (8, 8, 3))
    images = uniform(2, (8, 8, 8, 3), -1.0, 1.0)
    labels = jnp.arange(8)

    def everything(apply):
        def loss(params, mixing):
            given = {**variables, "params": params}
            logits, stats = apply(given, images, mixing, True)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), (logits, stats)

        step = jax.grad(loss, argnums=(0, 1), has_aux=True)
        return quick_jit(step)(variables["params"], unlike_mixing(SMALLER))

    (g_scan, (logits, stats)) = everything(functools.partial(net.apply, many=many))
    (g_row, (row_logits, row_stats)) = everything(
        functools.partial(cells_in_a_row, config)
    )
    close(logits, row_logits)
    close(stats, row_stats)
    close(g_scan, g_row, 1e-4)


def swapped(tree):
    """Leaves with a window, their rows and columns exchanged."""

    def swap(leaf):
        window = leaf.ndim >= 4 and leaf.shape[-1] == leaf.shape[-2] in (3, 5)
        return leaf.swapaxes(-1, -2) if window else leaf

    return jax.tree.map(swap, tree)


def test_images_need_not_be_square_nor_have_three_channels():
    config = SupernetConfig(channels=4, layers=1, partial_channels=2, space="darts8")
    net = make_supernet(config)
    variables = unlike_variables(net, (8, 12, 3))
    mixing = unlike_mixing(SPACES["darts8"])
    run = quick_jit(lambda variables, images: net.apply(variables, images, mixing)[0])
    grey = uniform(2, (8, 8, 12, 1), -1.0, 1.0)
    colour = grey.repeat(3, axis=-1) * jnp.array([1.0, 0.5, -2.0])[None, None, None]
    logits = run(variables, colour)
    assert logits.shape == (8, 10)
    assert float(jnp.std(logits, axis=0).max()) > 1e-3  # the images matter

    # lying images under kernels laid down are the standing ones
    lying = run(swapped(variables), colour.swapaxes(1, 2))
    close(lying, logits)

    # a stem that weighs one channel as three did
    stem = variables["params"]["stem"]
    [[red, green, blue]] = [jnp.split(stem["conv"], 3, axis=1)]
    narrow = {**stem, "conv": red + 0.5 * green - 2.0 * blue}
    grey_variables = {**variables, "params": {**variables["params"], "stem": narrow}}
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 12, 1)))
    assert jax.tree.map(jnp.shape, grey_variables) == jax.tree.map(jnp.shape, shapes)
    close(run(grey_variables, grey), logits)
