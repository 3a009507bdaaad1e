"""The mixed cell equals a plain loop over edges; a scan equals cells in a row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_spec import CellSpec
from egnas_jax.nn.init import draw, is_leaf
from egnas_jax.nn.layers import batch_norm, factorized_reduce, relu, relu_conv_norm
from egnas_jax.nn.primitive import source_of
from egnas_jax.nn.primitives import kernel_of
from egnas_jax.nn.supernet import SupernetConfig, cells_of, groups_of, make_supernet
from egnas_jax.space import SPACES, Space
from egnas_jax.types import Mixing

# Small enough for gradients to compile in seconds: one primitive with weights at every
# stride, one with weights at stride 2 only, one whose norm all edges share.
SMALL = Space(
    name="small",
    primitives=("max_pool_3x3", "skip_connect", "dil_conv_3x3"),
    num_nodes=2,
)
SMALLER = Space("smaller", ("avg_pool_3x3", "dil_conv_3x3"), num_nodes=1)
KERNELS = lowering.LOWERINGS["shifted"]


def uniform(seed, shape, low, high):
    return jax.random.uniform(jax.random.key(seed), shape, minval=low, maxval=high)


def random_arrays(seed, description, low, high):
    """Arrays of the described shapes, uniform between two bounds, on the host."""
    rng = np.random.default_rng(seed)

    def draw_leaf(leaf):
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree.map(draw_leaf, description, is_leaf=is_leaf)


def random_variables(net, image_shape):
    """Random weights and running statistics, none of them at its initial value."""
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), image_shape))
    return {
        "params": random_arrays(1, shapes["params"], -1.0, 1.0),
        "batch_stats": random_arrays(2, shapes["batch_stats"], 0.5, 1.5),
    }


def random_mixing(space):
    """Distinct weights; those of the edges lie on both sides of 1."""
    shape = space.num_edges, len(space.primitives)
    return Mixing(
        {kind: uniform(i, shape, 0.1, 1.0) for i, kind in enumerate(space.kinds)},
        {kind: uniform(i, shape[:1], 0.2, 2.0) for i, kind in enumerate(space.kinds)},
    )


def norm_by_definition(stats, x, train):
    """Batch norm of [C, H, W, N] without scale and bias, and the new statistics."""
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
    out, new_stats = kernel_of(name).apply(
        params,
        {} if pool_norm else stats,
        source_of(x[None]),
        stride=stride,
        train=train,
        kernels=KERNELS,
    )
    if not pool_norm:
        return out.value()[0], new_stats
    norm = jax.tree.map(lambda leaf: leaf[0], stats["norm"])
    y, norm = norm_by_definition(norm, out.value()[0], train)
    return y, {"norm": jax.tree.map(lambda leaf: leaf[None], norm)}


def one_edge(tree, name, position):
    """Leaves of one edge; one pooling norm serves all that leave a state."""
    at = 0 if "pool" in name else position
    return jax.tree.map(lambda leaf: leaf[at : at + 1], tree.get(name, {}))


def shuffle_channels(x, groups):
    """Orders channels as the first of every group, the second of every group, ..."""
    size = x.shape[0] // groups
    return x[jnp.array([g * size + i for i in range(size) for g in range(groups)])]


def halve(x):
    channels, height, width, images = x.shape
    pairs = (channels, height // 2, 2, width // 2, 2, images)
    return x.reshape(pairs).max(axis=(2, 4))


def naive_cell(spec, variables, inputs, mixing, *, train):
    """A cell edge by edge, as PC-DARTS defines it.

    Returns:
      The nodes, concatenated, and {(source, primitive, position): new batch_stats}.
    """
    (params, stats), space = variables, spec.space
    weights, edge_weights = mixing.primitives[spec.kind], mixing.edges[spec.kind]
    states, new_stats, edge = list(inputs), {}, 0
    used = [0] * (2 + space.num_nodes)  # out-edges of each state so far
    for node in range(space.num_nodes):
        total = 0.0
        for source in range(2 + node):
            stride = 2 if spec.reduction and source < 2 else 1
            state, position = states[source], used[source]
            active = state.shape[0] // spec.partial_channels
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
                mixed += weights[edge, column] * out
                new_stats[source, name, position] = new
            bypass = state[active:] if stride == 1 else halve(state[active:])
            channels = jnp.concatenate([mixed, bypass])
            total += edge_weights[edge] * shuffle_channels(
                channels, spec.partial_channels
            )
            used[source], edge = position + 1, edge + 1
        states.append(total)
    return jnp.concatenate(states[2:]), new_stats


def one_cell(spec, channels):
    """Random weights, batch_stats and inputs of a cell."""
    params, stats = init_cell(spec, channels)
    variables = random_arrays(6, params, -1.0, 1.0), random_arrays(7, stats, 0.5, 1.5)
    return variables, tuple(uniform(8, (2, channels, 8, 8, 8), -2.0, 2.0))


CASES = [  # space, channels, partial channels, kind, pool_bn, train
    pytest.param("darts7", 4, 1, "normal", False, True, marks=pytest.mark.slow),
    pytest.param("darts7", 8, 4, "reduce", True, True, marks=pytest.mark.slow),
    pytest.param("darts8", 4, 4, "normal", True, False, marks=pytest.mark.slow),
    ("darts8", 8, 2, "reduce", False, False),
]


@pytest.mark.parametrize("name, channels, k, kind, pool_bn, train", CASES)
def test_mixed_cell_equals_a_loop_over_edges(
    name, channels, k, kind, pool_bn, train, assert_close, quick_jit
):
    spec = CellSpec(SPACES[name], kind, k, pool_bn)
    variables, inputs = one_cell(spec, channels)
    mixing = random_mixing(spec.space)

    cell = functools.partial(mixed_cell, spec, train=train)
    out, new_stats = quick_jit(cell)(variables, inputs, mixing)
    expected, by_edge = naive_cell(spec, variables, inputs, mixing, train=train)
    assert_close(out, expected)
    new_stats, by_edge = jax.device_get((new_stats, by_edge))
    assert len(by_edge) == 14 * len(spec.space.primitives)
    for (source, name, position), new in by_edge.items():
        assert_close(one_edge(new_stats[source], name, position), new)
    assert jax.tree.structure(new_stats) == jax.tree.structure(variables[1])


@pytest.mark.slow
def test_gradients_of_mixed_cell_equal_those_of_a_loop_over_edges(
    assert_close, quick_jit
):
    spec = CellSpec(SMALL, "reduce", partial_channels=2, pool_bn=True)
    (params, stats), inputs = one_cell(spec, 4)
    cotangent = uniform(9, (8, 4, 4, 8), -1.0, 1.0)

    def gradients(cell):
        def loss(params, inputs, mixing):
            out, _ = cell(spec, (params, stats), inputs, mixing, train=True)
            return jnp.sum(out * cotangent)

        gradient = quick_jit(jax.grad(loss, argnums=(0, 1, 2)))
        of_params, of_inputs, of_mixing = gradient(params, inputs, random_mixing(SMALL))
        return of_params, of_inputs, of_mixing.primitives, of_mixing.edges

    assert_close(gradients(mixed_cell), gradients(naive_cell), 1e-4)


def pool_by_definition(kind, x, stride):
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
    primitive = kernel_of(kind, pool_bn=True)
    description = primitive.init(5, 2, stride, False)
    params, stats = (draw(jax.random.key(0), tree) for tree in description)
    assert not jax.tree.leaves(params)  # without scale and bias
    assert stats["norm"]["mean"].shape == (1, 2)  # one norm for all five edges
    x = np.random.default_rng(3).normal(-3.0, 3.0, (2, 4, 6, 3)).astype(np.float32)
    out, new_stats = primitive.apply(
        params, stats, source_of(x[None]), stride=stride, train=True, kernels=KERNELS
    )

    pooled = pool_by_definition(kind, x.astype(np.float64), stride)
    mean, var = pooled.mean(axis=(1, 2, 3)), pooled.var(axis=(1, 2, 3))
    scaled = (pooled - mean[:, None, None, None]) / np.sqrt(
        var[:, None, None, None] + 1e-5
    )
    np.testing.assert_allclose(out.value()[0], scaled, atol=1e-5)
    count = pooled[0].size
    np.testing.assert_allclose(new_stats["norm"]["mean"][0], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(
        new_stats["norm"]["var"][0], 0.9 + 0.1 * var * count / (count - 1), rtol=1e-5
    )


def test_pooling_norms_equal_numbers_computed_by_hand():
    # A window of a 2x2 image covers all of it. The maxima of the two images are 4 and
    # 8, the means 1 and 2.
    x = np.zeros((1, 1, 2, 2, 2), np.float32)
    x[..., 0, 0, :] = 4.0, 8.0
    stats = {"norm": {"mean": jnp.array([[1.0]]), "var": jnp.array([[2.0]])}}
    for kind, mean, deviation in (("max_pool_3x3", 6, 2), ("avg_pool_3x3", 1.5, 0.5)):
        out, new_stats = kernel_of(kind, pool_bn=True).apply(
            {"norm": {}}, stats, source_of(x), stride=1, train=True, kernels=KERNELS
        )
        one = deviation / np.sqrt(deviation**2 + 1e-5)
        np.testing.assert_allclose(out.value()[0, 0, 1, 1], [-one, one], rtol=1e-5)
        # For eight pixels the unbiased variance is 8/7 of the biased one.
        new_mean, new_var = new_stats["norm"]["mean"], new_stats["norm"]["var"]
        np.testing.assert_allclose(new_mean, 0.9 + 0.1 * mean, rtol=1e-5)
        unbiased = 8 / 7 * deviation**2
        np.testing.assert_allclose(new_var, 1.8 + 0.1 * unbiased, 1e-5)


@pytest.mark.parametrize("pool_bn", [False, True])
def test_poolings_have_a_norm_only_with_pool_bn(pool_bn):
    _, stats = init_cell(CellSpec(SPACES["darts7"], "normal", 1, pool_bn), 4)
    for source_stats in stats:
        assert ("avg_pool_3x3" in source_stats) == pool_bn
        assert ("max_pool_3x3" in source_stats) == pool_bn


def test_none_adds_nothing(quick_jit):
    spec = CellSpec(SPACES["darts8"], "reduce", 1, False)
    variables, inputs = one_cell(spec, 4)
    weights = random_mixing(spec.space).primitives["reduce"]

    @quick_jit
    def run(weights):
        mixing = Mixing({"reduce": weights}, {"reduce": jnp.ones(14)})
        return mixed_cell(spec, variables, inputs, mixing, train=True)[0]

    out = run(weights)
    assert float(jnp.abs(out).max(axis=(1, 2, 3)).min()) > 0  # no channel is zero
    np.testing.assert_array_equal(run(weights.at[:, 0].set(9.0)), out)
    assert not run(jnp.zeros((14, 8)).at[:, 0].set(1.0)).any()


def cells_in_a_row(config, variables, images, mixing, train):
    """The search network without groups: one cell after another."""
    params, stats = variables["params"], variables["batch_stats"]
    x = jnp.transpose(images, (3, 1, 2, 0))
    x = lowering.convolve(x, params["stem"]["conv"], (1, 1), (1, 1))
    x, stem = batch_norm(params["stem"]["norm"], stats["stem"], x[None], train)
    older = newer = x[0]
    positions = [(g, i) for g, group in enumerate(groups_of(config)) for i in group]
    new_stats = {"stem": stem, "preprocess": [], "groups": []}
    for (position, index), plan in zip(positions, cells_of(config), strict=True):
        weights, norms = params["preprocess"][index], stats["preprocess"][index]
        first = factorized_reduce if plan.reduced_before else relu_conv_norm
        rectified = relu(older) if plan.reduced_before else older
        s0, stats0 = first(weights["s0"], norms["s0"], rectified[None], train)
        s1, stats1 = relu_conv_norm(weights["s1"], norms["s1"], newer[None], train)
        at = index - groups_of(config)[position][0]
        cell_variables = tuple(
            jax.tree.map(lambda leaf, at=at: leaf[at], tree["groups"][position])
            for tree in (params, stats)
        )
        spec = CellSpec(
            SPACES[config.space], plan.kind, config.partial_channels, config.pool_bn
        )
        inputs = s0[0], s1[0]
        out, cell_stats = mixed_cell(spec, cell_variables, inputs, mixing, train=train)
        older, newer = newer, out
        new_stats["preprocess"].append({"s0": stats0, "s1": stats1})
        new_stats["groups"].append(cell_stats)
    new_stats["groups"] = [
        jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *(new_stats["groups"][i] for i in group)
        )
        for group in groups_of(config)
    ]
    head = params["classifier"]
    logits = jnp.mean(newer, axis=(1, 2)).T @ head["kernel"].T + head["bias"][None]
    return logits, new_stats


# A group behind the stem, which is no loop in training where it has two cells, and two
# groups behind a reduction, whose first cell reads an image twice as large.
GROUPS = {
    8: ((0, 1), (2,), (3, 4), (5,), (6, 7)),
    9: ((0, 1, 2), (3,), (4, 5), (6,), (7, 8)),
}


@pytest.mark.parametrize("layers", GROUPS)
def test_equal_cells_in_a_row_are_groups(layers):
    assert groups_of(SupernetConfig(layers=layers)) == GROUPS[layers]


@pytest.mark.longest
def test_equal_cells_as_a_scan_equal_the_same_cells_in_a_row(
    monkeypatch, assert_close, quick_jit
):
    monkeypatch.setitem(SPACES, SMALLER.name, SMALLER)
    config = SupernetConfig(
        channels=4, layers=9, partial_channels=2, space=SMALLER.name, pool_bn=True
    )
    net = make_supernet(config)
    variables = random_variables(net, (8, 8, 3))
    images = uniform(2, (8, 8, 8, 3), -1.0, 1.0)
    labels = jnp.arange(8)

    def train_step(apply):
        def loss(params, mixing):
            logits, stats = apply({**variables, "params": params}, images, mixing, True)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), (logits, stats)

        step = jax.grad(loss, argnums=(0, 1), has_aux=True)
        return quick_jit(step)(variables["params"], random_mixing(SMALLER))

    expected_gradients, expected_outputs = train_step(
        functools.partial(cells_in_a_row, config)
    )
    for many in (False, True):
        gradients, outputs = train_step(functools.partial(net.apply, many_mixings=many))
        assert_close(outputs, expected_outputs)
        assert_close(gradients, expected_gradients, 1e-4)


def swap_axes(tree):
    """The tree with rows and columns of every square kernel exchanged."""

    def swap(leaf):
        window = leaf.ndim >= 4 and leaf.shape[-1] == leaf.shape[-2] in (3, 5)
        return leaf.swapaxes(-1, -2) if window else leaf

    return jax.tree.map(swap, tree)


@pytest.mark.slow
def test_images_may_be_rectangular_and_have_any_number_of_channels(
    assert_close, quick_jit
):
    config = SupernetConfig(channels=4, layers=1, partial_channels=2, space="darts8")
    net = make_supernet(config)
    variables = random_variables(net, (8, 12, 3))
    mixing = random_mixing(SPACES["darts8"])
    run = quick_jit(lambda variables, images: net.apply(variables, images, mixing)[0])
    grey = uniform(2, (8, 8, 12, 1), -1.0, 1.0)
    colour = grey.repeat(3, axis=-1) * jnp.array([1.0, 0.5, -2.0])[None, None, None]
    logits = run(variables, colour)
    assert logits.shape == (8, 10)
    assert float(jnp.std(logits, axis=0).max()) > 1e-3  # they depend on the images

    # Transposed images under transposed kernels give the same logits.
    assert_close(run(swap_axes(variables), colour.swapaxes(1, 2)), logits)

    # A stem that reads the one channel as the other stem reads all three.
    stem = variables["params"]["stem"]
    [[red, green, blue]] = [jnp.split(stem["conv"], 3, axis=1)]
    narrow = {**stem, "conv": red + 0.5 * green - 2.0 * blue}
    grey_variables = {**variables, "params": {**variables["params"], "stem": narrow}}
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 12, 1)))
    assert jax.tree.map(jnp.shape, grey_variables) == jax.tree.map(jnp.shape, shapes)
    assert_close(run(grey_variables, grey), logits)
