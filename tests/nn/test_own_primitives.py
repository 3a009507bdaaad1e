"""Primitives of a user's own are computed, drawn and refused as documented."""

import functools
import re
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from own_primitives import CONV_NORM, SQUEEZE_EXCITE, SqueezeExcite, conv_norm

from egnas_jax.nn import lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_spec import CellSpec
from egnas_jax.nn.init import draw, stack_leaves
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.primitive import Primitive, source_of
from egnas_jax.nn.primitive_check import check_primitive
from egnas_jax.nn.primitive_edges import kernel_from_functions
from egnas_jax.nn.primitive_linen import primitive_from_linen
from egnas_jax.nn.primitives import PRIMITIVES, kernel_of, register_primitive
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.space import SPACES, Genotype, Space
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.types import Mixing

EDGES, CHANNELS, SIDE, IMAGES = 3, 4, 6, 5
KERNELS = lowering.LOWERINGS["shifted"]


@pytest.fixture
def registered():
    """The own primitives in all tables, for the time of a test."""
    own = {p.name: p for p in (CONV_NORM, SQUEEZE_EXCITE)}
    for primitive in own.values():
        register_primitive(primitive)
    yield list(own)
    for name in own:
        del PRIMITIVES[name], FAMILIES[name]


def state(dtype=jnp.float32):
    """[1, C, H, W, N]."""
    shape = (1, CHANNELS, SIDE, SIDE, IMAGES)
    return jax.random.normal(jax.random.key(3), shape).astype(dtype)


def variables_of(primitive, stride, edges=EDGES):
    """Variables of some edges, and running statistics that are not the initial ones."""
    params, stats = kernel_from_functions(primitive).init(edges, CHANNELS, stride, True)
    params, stats = draw(jax.random.key(0), params), draw(jax.random.key(0), stats)
    return params, jax.tree.map(lambda leaf: leaf + 0.25, stats)


def run_edges(kernel, variables, x, **options):
    out, new_stats = kernel.apply(*variables, source_of(x), kernels=KERNELS, **options)
    return out.value(), new_stats


@pytest.mark.parametrize("stride", [1, 2])
def test_an_own_convolution_equals_the_built_in_one(stride, assert_close):
    params, stats = variables_of(CONV_NORM, stride)
    params |= {"scale": params["scale"] + 0.5, "bias": params["bias"] - 0.25}
    theirs = {
        "conv": jnp.transpose(params["conv"], (0, 4, 3, 1, 2)),
        "norm": {"scale": params["scale"], "bias": params["bias"]},
    }
    weights = jax.random.normal(jax.random.key(9), (1, 1, SIDE // stride, 1, 1))

    @functools.partial(jax.jit, static_argnums=0)
    def run(kernel, params, stats, x):
        def loss(params, x, train):
            options = {"stride": stride, "train": train}
            out, new_stats = run_edges(kernel, (params, stats), x, **options)
            return jnp.sum(out**2 * weights), (out, new_stats)

        gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
        return gradient(params, x, True), gradient(params, x, False)

    own = run(kernel_from_functions(CONV_NORM), params, stats, state())
    built_in = run(kernel_of("nor_conv_3x3"), theirs, {"norm": stats}, state())
    for ours, expected in zip(own, built_in, strict=True):
        (of_params, of_x), (out, new_stats) = ours
        (of_theirs, of_their_x), (their_out, their_stats) = expected
        assert_close(out, their_out)
        assert_close(new_stats, their_stats["norm"])
        assert_close(of_x, of_their_x, 1e-4)
        conv = jnp.transpose(of_params.pop("conv"), (0, 4, 3, 1, 2))
        assert_close(conv, of_theirs["conv"], 1e-4)
        assert_close(of_params, of_theirs["norm"], 1e-4)


@pytest.mark.parametrize("train", [False, True])
def test_a_kernel_computes_each_edge_as_the_functions_do(train, assert_close):
    params, stats = variables_of(CONV_NORM, 2)
    kernel, options = kernel_from_functions(CONV_NORM), {"stride": 2, "train": train}
    out, new_stats = run_edges(kernel, (params, stats), state(), **options)
    images = jnp.transpose(state()[0], (3, 1, 2, 0))
    for edge in range(EDGES):
        one = jax.tree.map(lambda leaf, i=edge: leaf[i], (params, stats))
        y, expected = conv_norm(*one, images, 2, train)
        assert_close(out[edge], jnp.transpose(y, (3, 1, 2, 0)))
        assert_close(jax.tree.map(lambda leaf, i=edge: leaf[i], new_stats), expected)
    assert not np.allclose(out[0], out[1])


def test_a_linen_module_is_applied_edge_by_edge(assert_close):
    params, stats = variables_of(SQUEEZE_EXCITE, 2)
    kernel, images = (
        kernel_from_functions(SQUEEZE_EXCITE),
        jnp.transpose(state()[0], (3, 1, 2, 0)),
    )
    out, new_stats = run_edges(kernel, (params, stats), state(), stride=2, train=True)
    kept, same = run_edges(kernel, (params, stats), state(), stride=2, train=False)
    module = SqueezeExcite(channels=CHANNELS, stride=2)
    for edge in (0, EDGES - 1):
        one = jax.tree.map(
            lambda leaf, i=edge: leaf[i], {"params": params, "batch_stats": stats}
        )
        y, updates = module.apply(one, images, train=True, mutable=["batch_stats"])
        assert_close(jnp.transpose(out[edge], (3, 1, 2, 0)), y)
        updated = jax.tree.map(lambda leaf, i=edge: leaf[i], new_stats)
        assert_close(updated, updates["batch_stats"])
        y = module.apply(one, images, train=False)
        assert_close(jnp.transpose(kept[edge], (3, 1, 2, 0)), y)
    assert same is stats


def test_bfloat16_stays_bfloat16():
    for primitive in (CONV_NORM, SQUEEZE_EXCITE):
        check_primitive(primitive, CHANNELS, ("float32", "bfloat16"))
        variables = variables_of(primitive, 1)
        options = {"stride": 1, "train": True}
        kernel = kernel_from_functions(primitive)
        out, new_stats = run_edges(kernel, variables, state(jnp.bfloat16), **options)
        assert out.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(new_stats)} == {jnp.dtype("f4")}


def test_an_own_pooling_gets_a_norm_where_poolings_do(registered, assert_close):
    def mean(params, batch_stats, x, stride, train):
        return jax.image.resize(x, (len(x), *[SIDE // stride] * 2, CHANNELS), "linear")

    own = Primitive(
        "own_pool",
        lambda key, channels, stride: ({}, {}),
        lambda *given: (mean(*given), {}),
        "pool",
    )
    try:
        register_primitive(own)
        kernel = kernel_of("own_pool", pool_bn=True)
        params, stats = kernel.init(EDGES, CHANNELS, 1, False)
        assert (params, set(stats)) == ({"norm": {}}, {"norm"})
        stats = draw(jax.random.key(0), stats)
        assert stats["norm"]["mean"].shape == (1, CHANNELS)  # one for all edges
        out, new = run_edges(kernel, (params, stats), state(), stride=1, train=True)
        mean = jnp.mean(out, axis=(0, 2, 3, 4))
        np.testing.assert_allclose(mean, np.zeros(CHANNELS), atol=1e-6)
        assert not np.allclose(new["norm"]["mean"], stats["norm"]["mean"])
    finally:
        PRIMITIVES.pop("own_pool", None)
        FAMILIES.pop("own_pool", None)


def twice(key, channels, stride):
    """batch_stats that equal a parameter, so that both must come from one key."""
    weight = jax.random.uniform(key, (channels,))
    return {"weight": weight}, {"copy": weight}


def test_draws_depend_on_key_and_place_and_leave_built_in_leaves_alone():
    own = kernel_from_functions(Primitive("twice", twice, conv_norm))
    built_in, stats = kernel_of("sep_conv_3x3").init(2, 4, 1, True)
    del stats
    trees = [stack_leaves(tree, 2) for tree in own.init(EDGES, CHANNELS, 1, False)]
    with_own = [
        {"sep": built_in, "a": {"own": tree}, "b": {"own": tree}} for tree in trees
    ]
    params, stats = (draw(jax.random.key(1), tree) for tree in with_own)
    alone = draw(jax.random.key(1), {"sep": built_in})
    jax.tree.map(np.testing.assert_array_equal, params["sep"], alone["sep"])
    weight = np.stack([params[place]["own"]["weight"] for place in "ab"])
    assert weight.shape == (2, 2, EDGES, CHANNELS)
    assert len(np.unique(weight)) == weight.size  # every copy is drawn by its own key
    copy = np.stack([stats[place]["own"]["copy"] for place in "ab"])
    np.testing.assert_array_equal(weight, copy)
    traced = jax.jit(lambda key: draw(key, with_own[0]))(jax.random.key(1))
    np.testing.assert_array_equal(traced["b"]["own"]["weight"], weight[1])
    other = draw(jax.random.key(2), with_own[0])
    assert not np.any(other["b"]["own"]["weight"] == weight[1])


def test_a_mixed_cell_adds_own_primitives_on_partial_channels(registered, assert_close):
    space = Space("own", ("none", "skip_connect", *registered), num_nodes=2)
    spec = CellSpec(space, "reduce", partial_channels=2, pool_bn=False)
    params, stats = (
        draw(jax.random.key(0), tree) for tree in init_cell(spec, 2 * CHANNELS)
    )
    rows = jnp.zeros((2, 5, 4)).at[0, :, 2].set(1.0).at[1, 0, 3].set(0.5)
    inputs = jnp.concatenate([state()[0], state()[0] ** 2]), state()[0].repeat(2, 0)
    run = functools.partial(mixed_cell, spec, (params, stats), inputs, train=False)

    def one(primitives):
        return run(Mixing({"reduce": primitives}, {"reduce": jnp.ones(5)}))[0]

    outputs = jax.jit(jax.vmap(one))(rows)
    assert_close(outputs[0], one(rows[0]))
    kernel = kernel_of(registered[0])
    places = [(source, target) for source, target in space.edges if target == 2]
    expected = sum(
        run_edges(
            kernel,
            [tree[source][registered[0]] for tree in (params, stats)],
            inputs[source][None, :CHANNELS],
            stride=2,
            train=False,
        )[0][0]
        for source, _ in places
    )
    first_node = outputs[0].reshape(2, CHANNELS, 2, *outputs.shape[-3:])[0, :, 0]
    assert_close(first_node, expected, 1e-4)
    squeezed = run_edges(
        kernel_of(registered[1]),
        [tree[0][registered[1]] for tree in (params, stats)],
        inputs[0][None, :CHANNELS],
        stride=2,
        train=False,
    )[0][0]
    first_node = outputs[1].reshape(2, CHANNELS, 2, *outputs.shape[-3:])[0, :, 0]
    assert_close(first_node, 0.5 * squeezed, 1e-4)


def init_nothing(key, channels, stride):
    return {}, {}


def keep(params, batch_stats, x, stride, train):
    return x[:, ::stride, ::stride], batch_stats


def unhalved(params, batch_stats, x, stride, train):
    return x, batch_stats


def too_wide(params, batch_stats, x, stride, train):
    y, _ = keep(params, batch_stats, x, stride, train)
    return jnp.concatenate([y, y], axis=-1), batch_stats


def half_precision(params, batch_stats, x, stride, train):
    y, _ = keep(params, batch_stats, x, stride, train)
    return y.astype(jnp.float16), batch_stats


def new_stats_in_training(params, batch_stats, x, stride, train):
    y, _ = keep(params, batch_stats, x, stride, train)
    return y, {"mean": jnp.mean(x)} if train else batch_stats


def broken(params, batch_stats, x, stride, train):
    y = x[:, ::stride, ::stride]
    return y @ jnp.zeros((7, 3)), batch_stats


def one_result(params, batch_stats, x, stride, train):
    return x[:, ::stride, ::stride]


def value_dependent(params, batch_stats, x, stride, train):
    y, _ = keep(params, batch_stats, x, stride, train)
    return (y if x[0, 0, 0, 0] > 0 else -y), batch_stats


def loops(params, batch_stats, x, stride, train):
    y, _ = keep(params, batch_stats, x, stride, train)
    y = jax.lax.while_loop(lambda y: jnp.max(y) > 1, lambda y: y / 2, y)
    return y, batch_stats


def init_doubles(key, channels, stride):
    return {"w": jnp.zeros(channels, jnp.int32)}, {}


def init_list(key, channels, stride):
    return [jnp.zeros(channels)], {}


def init_broken(key, channels, stride):
    return {"w": jnp.zeros((3, 3)) + jnp.zeros(2)}, {}


def init_dotted(key, channels, stride):
    return {"a": {"b.c": jnp.zeros(channels)}, "b": [jnp.zeros(channels)]}, {}


def init_mixed_names(key, channels, stride):
    return {"inner": {"a": jnp.zeros(3), 1: jnp.zeros(2)}}, {}


def init_pixels(key, channels, stride):
    return {"w": jnp.zeros((8, 8, channels))}, {}


def pixels(params, batch_stats, x, stride, train):
    return keep(params, batch_stats, x * params["w"][None], stride, train)


def only_squares(params, batch_stats, x, stride, train):
    return keep(params, batch_stats, x.transpose(0, 2, 1, 3), stride, train)


def line_of(function, offset=0):
    return f"{__file__}:{function.__code__.co_firstlineno + offset}"


@pytest.mark.parametrize(
    "init, apply, message, where",
    [
        (init_nothing, unhalved, "must be (2, 4, 4, 4)", line_of(unhalved)),
        (init_nothing, too_wide, "returns shape (2, 8, 8, 8)", line_of(too_wide)),
        (init_nothing, half_precision, "float16. Return", line_of(half_precision)),
        (
            init_nothing,
            new_stats_in_training,
            "train=True) returns batch_stats {'mean': ()}, but was given {}",
            line_of(new_stats_in_training),
        ),
        (init_nothing, broken, "cannot be traced: TypeError", line_of(broken, 2)),
        (init_nothing, one_result, "Return two: (y, batch_stats)", line_of(one_result)),
        (
            init_nothing,
            value_dependent,
            "cannot be traced: TracerBoolConversionError",
            line_of(value_dependent, 2),
        ),
        (
            init_nothing,
            loops,
            "the gradient of apply(stride=1, train=True) cannot be traced: ValueError",
            line_of(loops),
        ),
        (init_doubles, keep, "params['w'] in int32", line_of(init_doubles)),
        (init_list, keep, "Return a dictionary", line_of(init_list)),
        (
            init_dotted,
            keep,
            "init returns params with the name 'b.c'. A dot separates",
            line_of(init_dotted),
        ),
        (
            init_mixed_names,
            keep,
            "init returns a dictionary with the names 'a', 1, of several types. Write",
            line_of(init_mixed_names),
        ),
        (
            init_pixels,
            pixels,
            "apply(x float32[2, 16, 12, 4], stride=1, train=True) cannot be traced",
            line_of(pixels, 1),
        ),
        (
            init_nothing,
            only_squares,
            "returns shape (2, 12, 16, 4). The output must be (2, 16, 12, 4)",
            line_of(only_squares),
        ),
        (init_broken, keep, "init(4, 1) cannot be traced", line_of(init_broken, 1)),
    ],
)
def test_a_bad_primitive_is_refused_with_its_line(init, apply, message, where):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        check_primitive(Primitive("bad", init, apply), CHANNELS)
    assert f"The primitive bad ({where}): " in str(caught.value)


def test_a_bad_linen_module_is_refused_with_its_line():
    class Wide(SqueezeExcite):
        def __call__(self, x, train):
            return jnp.concatenate([x, x])

    import own_primitives

    bad = own_primitives.primitive_from_linen("wide", Wide)
    with pytest.raises(ValueError, match=r"wide \(.*test_own_primitives.py:\d+\)"):
        check_primitive(bad, CHANNELS)


class NoStride(nn.Module):
    channels: int
    width: int

    def __call__(self, x, train):
        return x


@pytest.mark.parametrize(
    "module_class, message",
    [
        (3, "The primitive q: the module class is 3. Give a class of flax.linen.Modu"),
        (NoStride, "q: NoStride lacks stride and needs width. Give a class .* fields"),
        (
            lambda width, channels, stride: None,
            "q: <lambda> has fields of its own and needs width",
        ),
    ],
)
def test_what_makes_no_module_is_refused_at_once(module_class, message):
    with pytest.raises(ValueError, match=message):
        primitive_from_linen("q", module_class)


def test_a_module_with_more_fields_is_taken_where_they_are_given():
    class Wide(NoStride):
        stride: int = 1

    with pytest.raises(ValueError, match="needs width"):
        primitive_from_linen("q", Wide)
    assert primitive_from_linen("q", functools.partial(Wide, width=3)).name == "q"


def test_networks_refuse_a_bad_primitive_as_they_are_made():
    pairs = [("unhalved", 0), ("unhalved", 1)]
    try:
        register_primitive(Primitive("unhalved", init_nothing, unhalved))
        SPACES["unhalved"] = Space("unhalved", ("skip_connect", "unhalved"))
        with pytest.raises(ValueError, match="The primitive unhalved"):
            make_supernet(SupernetConfig(space="unhalved"))
        with pytest.raises(ValueError, match="The primitive unhalved"):
            make_network(Genotype(pairs, [2], pairs, [2]), NetworkConfig(layers=3))
    finally:
        SPACES.pop("unhalved", None)
        for table in (PRIMITIVES, FAMILIES):
            table.pop("unhalved", None)


def test_names_are_registered_once(registered):
    with pytest.raises(ValueError, match="There is a primitive 'own_conv_3x3' already"):
        register_primitive(CONV_NORM)
    with pytest.raises(
        ValueError, match="register_primitive takes a Primitive, got 'x"
    ):
        register_primitive("x")
    with pytest.raises(ValueError, match="apply of the primitive f is 3"):
        register_primitive(Primitive("f", init_nothing, 3))
    assert "f" not in FAMILIES


def test_a_derived_network_holds_own_primitives(registered):
    conv, squeeze = registered
    pairs = [(conv, 0), (squeeze, 1), (squeeze, 0), ("skip_connect", 2)]
    genotype = Genotype(pairs, [2, 3], pairs, [2, 3])
    network = make_network(genotype, NetworkConfig(4, 3, 10, auxiliary=False))
    key, images = jax.random.key(0), jnp.ones((2, 8, 8, 3), jnp.bfloat16)
    variables = jax.eval_shape(lambda key: network.init(key, (8, 8, 3)), key)
    options = {"train": True, "key": key, "drop_path": 0.2}
    logits, _, batch_stats = jax.eval_shape(
        lambda v, x: network.apply(v, x, **options), variables, images
    )
    assert logits.shape == (2, 10)
    assert jax.tree.structure(batch_stats) == jax.tree.structure(
        variables["batch_stats"]
    )


SHARDED = """
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import PartitionSpec as P
    from own_primitives import SQUEEZE_EXCITE
    from egnas_jax.nn import lowering
    from egnas_jax.nn.init import draw
    from egnas_jax.nn.primitive import source_of
    from egnas_jax.nn.primitive_edges import kernel_from_functions
    from egnas_jax.nn.sync_batch_norm import IMAGES
    kernel = kernel_from_functions(SQUEEZE_EXCITE)
    params, stats = (draw(jax.random.key(0), t) for t in kernel.init(2, 4, 1, True))
    x = jax.random.normal(jax.random.key(1), (1, 4, 6, 6, 8))
    weights = jax.random.normal(jax.random.key(2), (2, 4, 6, 6, 8))

    def run(x, weights, params, sum_over):
        def loss(params, x):
            y, new = kernel.apply(params, stats, source_of(x), stride=1, train=True,
                                  kernels=lowering.LOWERINGS["shifted"])
            return jnp.sum(y.value() * weights), (y.value(), new)
        (of_params, of_x), (y, new) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
        return y, of_x, sum_over(of_params), new

    sharded, one = P(None, None, None, None, IMAGES), P()
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), (IMAGES,))
    total = lambda tree: jax.lax.psum(tree, IMAGES)
    split = jax.shard_map(
        lambda x, weights, params: run(x, weights, params, total), mesh=mesh,
        in_specs=(sharded, sharded, one), out_specs=(sharded, sharded, one, one),
        check_vma=False)
    found = jax.jit(split)(x, weights, params)
    expected = jax.jit(lambda *a: run(*a, lambda tree: tree))(x, weights, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-4),
                 found, expected)
    print("equal")
"""


@pytest.mark.slow
def test_devices_that_share_a_batch_compute_what_one_device_does(monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    command = [sys.executable, "-c", textwrap.dedent(SHARDED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "equal\n", done.stderr
