"""The derived network equals the torch network, and accepts every genotype."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax import interop
from egnas_jax.nn import lowering, network
from egnas_jax.nn.cost import count_params
from egnas_jax.nn.drop_path import keep_factors
from egnas_jax.nn.init import draw
from egnas_jax.nn.network import make_network, runs_of
from egnas_jax.nn.network_cell import derived_cell, init_cell, stacks_of
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import DARTS_PRIMITIVES, Genotype, zoo

WITH_HEAD = "network_amoebanet_c4_l3"
FILES = [WITH_HEAD, "network_darts_v2_c8_l6"]
IMAGENET = NetworkConfig(channels=48, layers=14, num_classes=1000, frame="imagenet")


def make_loss(net, variables, images, labels, **options):
    """The loss of a retraining: params -> loss, (both logits, new batch_stats)."""

    def loss(params):
        logits, auxiliary, stats = net.apply(
            variables | {"params": params}, images, train=True, **options
        )
        entropy = optax.softmax_cross_entropy_with_integer_labels
        total = entropy(logits, labels).mean()
        if auxiliary is not None:
            total += 0.4 * entropy(auxiliary, labels).mean()
        return total, (logits, auxiliary, stats)

    return loss


def golden_case(name, load_golden_network):
    """Arrays of a golden file, the network with its weights, and its images as NHWC."""
    arrays, genotype, config, weights = load_golden_network(name)
    variables = interop.network_from_torch(weights, genotype, config)
    images = jnp.transpose(jnp.asarray(arrays["x"]), (0, 2, 3, 1))
    return arrays, make_network(genotype, config), variables, images


@pytest.mark.parametrize(
    "name", [pytest.param(WITH_HEAD, marks=pytest.mark.slow), *FILES[1:]]
)
def test_forward_passes_equal_torch(load_golden_network, name, assert_close):
    z, net, variables, images = golden_case(name, load_golden_network)

    @functools.partial(jax.jit, compiler_options=lowering.compiler_options())
    def both(variables):
        return net.apply(variables, images), net.apply(variables, images, train=True)

    (logits, auxiliary, _), (train_logits, _, stats) = both(variables)
    assert_close(logits, z["logits_eval"], 1e-5)
    assert_close(train_logits, z["logits_train"], 1e-5)
    assert auxiliary is None
    changed = jax.tree.map(
        lambda a, b: bool(jnp.any(a != b)), stats, variables["batch_stats"]
    )
    assert all(jax.tree.leaves(changed))


@pytest.mark.slow
def test_loss_and_gradients_equal_torch(load_golden_network, assert_close):
    z, net, variables, images = golden_case(WITH_HEAD, load_golden_network)
    loss = make_loss(net, variables, images, jnp.asarray(z["y"], jnp.int32))
    options = lowering.compiler_options()
    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=options)
    (value, (_, auxiliary, _)), gradient = step(variables["params"])
    assert_close(auxiliary, z["logits_aux_train"], 1e-5)
    np.testing.assert_allclose(value, z["loss_train"], rtol=1e-5)
    np.testing.assert_allclose(optax.global_norm(gradient), z["grad_norm"], rtol=1e-4)
    assert_close(gradient["stem"][0]["conv"], z["g/stem.0.weight"], 1e-4)
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == z["params_with_aux"]


@pytest.mark.parametrize("name", FILES)
def test_weights_survive_the_conversion_to_torch_and_back(load_golden_network, name):
    _, genotype, config, weights = load_golden_network(name)
    variables = interop.network_from_torch(weights, genotype, config)
    restored = interop.network_to_torch(variables, genotype, config)
    assert set(restored) == set(weights)
    for name, weight in weights.items():
        np.testing.assert_array_equal(restored[name], weight.astype(np.float32), name)


def test_weights_that_do_not_fit_are_named(load_golden_network):
    _, genotype, config, weights = load_golden_network(WITH_HEAD)
    missing = {n: w for n, w in weights.items() if n != "classifier.bias"}
    with pytest.raises(ValueError, match="missing: classifier.bias"):
        interop.network_from_torch(missing, genotype, config)
    headless = dataclasses.replace(config, auxiliary=False)
    with pytest.raises(ValueError, match="unexpected: auxiliary_head.classifier.bias"):
        interop.network_from_torch(weights, genotype, headless)
    wider = dataclasses.replace(config, num_classes=12)
    with pytest.raises(
        ValueError, match=r"classifier.weight has shape \(10, 768\).*12"
    ):
        interop.network_from_torch(weights, genotype, wider)


def count_initial_weights(genotype, config, shape):
    init = make_network(genotype, config).init
    shapes = jax.eval_shape(lambda key: init(key, shape), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize("name", sorted(zoo))
def test_every_published_cell_has_its_published_size(name):
    entry = zoo[name]
    for config, side, expected in (
        (NetworkConfig(auxiliary=False), 32, entry.params_cifar10),
        (dataclasses.replace(IMAGENET, auxiliary=False), 224, entry.params_imagenet),
    ):
        shape = side, side, 3
        assert count_initial_weights(entry.genotype, config, shape) == expected


def test_the_imagenet_network_has_a_head_and_gives_both_logits():
    genotype = zoo["DARTS_V2"].genotype
    expected = count_params(genotype, IMAGENET, auxiliary=True)
    assert count_initial_weights(genotype, IMAGENET, (224, 224, 3)) == expected
    net = make_network(genotype, IMAGENET)
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(
        lambda key: net.init(key, (224, 224, 3)), jax.random.key(0)
    )
    logits, auxiliary, stats = jax.eval_shape(
        lambda v, x: net.apply(v, x, train=True), variables, images
    )
    assert logits.shape == auxiliary.shape == (2, 1000)
    assert jax.tree.structure(stats) == jax.tree.structure(variables["batch_stats"])


def genotype_with_every_primitive():
    """A genotype of five blocks whose normal cell has every primitive."""
    names = [*DARTS_PRIMITIVES, *DARTS_PRIMITIVES][:10]
    sources = [0, 1, 2, 0, 3, 1, 4, 2, 5, 0]
    reduce = [(name, i % 2) for i, name in enumerate(reversed(names))]
    return Genotype(list(zip(names, sources, strict=True)), [1, 3, 6], reduce, [2, 6])


@pytest.mark.slow
def test_cells_of_five_blocks_may_have_every_primitive_and_any_output_nodes():
    genotype = genotype_with_every_primitive()
    assert {name for name, _ in genotype.normal} == set(DARTS_PRIMITIVES)
    config = NetworkConfig(channels=4, layers=3, num_classes=3, auxiliary=False)
    net = make_network(genotype, config)
    variables = net.init(jax.random.key(0), (8, 8, 1))
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    logits, _, _ = jax.jit(lambda v, x: net.apply(v, x))(variables, images)
    assert logits.shape == (2, 3) and np.isfinite(logits).all()
    expected = count_params(genotype, config, image_channels=1)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected


# The normal cell has a pooling, an identity and a convolution. The skip of the
# reduction cell has a stride, so it has weights.
CELLS = Genotype(
    [("max_pool_3x3", 0), ("skip_connect", 1), ("dil_conv_3x3", 0), ("none", 2)],
    [2, 3],
    [("skip_connect", 0), ("avg_pool_3x3", 1), ("dil_conv_3x3", 1), ("none", 0)],
    [2, 3],
)
SMALL = NetworkConfig(channels=4, layers=7, num_classes=3, auxiliary=False)


@pytest.fixture(scope="module")
def small():
    """A network with runs of two cells, its variables, and images."""
    net = make_network(CELLS, SMALL)
    variables = net.init(jax.random.key(0), (8, 8, 1))
    return net, variables, jax.random.normal(jax.random.key(1), (6, 8, 8, 1))


def test_equal_cells_share_one_compiled_body():
    twenty = NetworkConfig(auxiliary=False)
    sizes = [len(indices) for _, indices in runs_of(zoo["DARTS_V2"].genotype, twenty)]
    assert sizes == [1, 1, 4, 1, 1, 5, 1, 1, 5]

    def count_lines(layers):
        config = dataclasses.replace(SMALL, layers=layers)
        net = make_network(CELLS, config)
        variables = jax.eval_shape(
            lambda key: net.init(key, (8, 8, 1)), jax.random.key(0)
        )
        images = jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)
        forward = jax.jit(lambda v, x: net.apply(v, x, train=True))
        return forward.lower(variables, images).as_text().count("\n")

    assert count_lines(20) == count_lines(40) < 1.5 * count_lines(6)


def test_paths_are_dropped_per_image_and_rescaled():
    factors = keep_factors(jax.random.key(0), 20, 500, 0.3, jnp.float32)
    values, counts = np.unique(np.asarray(factors), return_counts=True)
    np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-6)
    # The standard deviation over 10,000 draws is 0.0046.
    np.testing.assert_allclose(counts[0] / counts.sum(), 0.3, atol=0.02)
    assert len(np.unique(np.asarray(factors), axis=0)) == 20  # all edges differ
    assert len(np.unique(np.asarray(factors), axis=1).T) > 450


def test_all_edges_but_identities_can_be_dropped():
    stacks = {stack.name: stack for stack in stacks_of(CELLS, "normal")}
    inputs = jax.random.normal(jax.random.key(0), (2, 4, 6, 6, 5))
    variables = tuple(
        draw(jax.random.key(1), tree) for tree in init_cell(CELLS, "normal", 4)
    )

    def cell(factors):
        out, _ = derived_cell(
            CELLS, "normal", variables, tuple(inputs), train=False, factors=factors
        )
        return out

    full, without_paths = cell(None), cell(jnp.zeros((4, 5)))
    assert stacks["1 skip_connect"].identity
    # Node 2 is pooling + skip, so the skip remains of it.
    np.testing.assert_array_equal(without_paths[:4], inputs[1])
    np.testing.assert_array_equal(without_paths[4:], 0.0)
    # Edge 0, the pooling, is dropped for image 3 only.
    factors = jnp.ones((4, 5)).at[0, 3].set(0.0)
    is_changed = np.asarray(jnp.any(cell(factors) != full, axis=(0, 1, 2)))
    assert is_changed.tolist() == [False, False, False, True, False]


def test_a_strided_skip_has_weights_and_can_be_dropped():
    stacks = {stack.name: stack for stack in stacks_of(CELLS, "reduce")}
    assert not stacks["0 skip_connect"].identity
    assert "0 skip_connect" in init_cell(CELLS, "reduce", 4)[0]


@pytest.mark.slow
def test_drop_path_needs_a_key_and_depends_on_it(small, assert_close):
    net, variables, images = small
    with pytest.raises(ValueError, match="drop_path is 0.5, so a key is needed"):
        net.apply(variables, images, train=True, drop_path=0.5)
    apply = jax.jit(
        lambda k, p: net.apply(variables, images, train=True, key=k, drop_path=p)[0]
    )
    first = apply(jax.random.key(0), 0.5)
    np.testing.assert_array_equal(first, apply(jax.random.key(0), 0.5))
    assert np.any(first != apply(jax.random.key(1), 0.5))
    without = jax.jit(lambda: net.apply(variables, images, train=True)[0])()
    assert_close(apply(jax.random.key(0), 0.0), without)


@pytest.mark.slow
def test_scanned_cells_equal_cells_one_by_one(small, monkeypatch):
    net, variables, images = small
    scanned = net.apply(variables, images, train=True)

    def run_unrolled(cell, states, scanned, *, looped):
        del looped
        new_stats = []
        for index in range(len(scanned[-1])):
            part = jax.tree.map(lambda leaf, i=index: leaf[i], scanned)
            states, cell_stats = cell(states, part)
            new_stats.append(cell_stats)
        return states, jax.tree.map(lambda *leaves: jnp.stack(leaves), *new_stats)

    monkeypatch.setattr(network, "run_cells", run_unrolled)
    unrolled = net.apply(variables, images, train=True)
    chex.assert_trees_all_close(scanned, unrolled, atol=1e-5)


@pytest.mark.slow
def test_rematerialisation_keeps_the_gradient():
    images = jax.random.normal(jax.random.key(1), (6, 4, 4, 1))
    labels = jnp.array([0, 1, 2, 0, 1, 2])
    gradients, products = [], []
    for remat in (False, True):
        net = make_network(CELLS, dataclasses.replace(SMALL, layers=2, remat=remat))
        variables = net.init(jax.random.key(0), (4, 4, 1))
        loss = make_loss(
            net, variables, images, labels, key=jax.random.key(3), drop_path=0.3
        )
        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        text = step.lower(variables["params"]).as_text()
        gradients.append(step(variables["params"])[1])
        # A 1x1 convolution is a matrix product; those of the cells appear twice.
        products.append(text.count("dot_general"))
    assert products[1] > products[0]
    chex.assert_trees_all_close(*gradients, atol=2e-5)


def test_cells_without_a_path_are_refused_where_they_are_used():
    dead = [("none", 0), ("none", 1), ("sep_conv_3x3", 2), ("none", 2)]
    genotype = Genotype(dead, [2, 3], CELLS.reduce, [2, 3])
    with pytest.raises(ValueError, match="normal cell has no path .* nodes .2, 3."):
        make_network(genotype, SMALL)
    # A network of one layer has a reduction cell only.
    make_network(genotype, dataclasses.replace(SMALL, layers=1))


@pytest.mark.parametrize(
    "config, shape, message",
    [
        (NetworkConfig(), (32, 28, 3), "takes sides of 32, 36, 40 in the cifar frame"),
        (NetworkConfig(), (8, 8, 1), r"out \(auxiliary=False; --no-auxiliary\)"),
        (SMALL, (10, 8, 1), "divisible by 4, as it halves them 2 times"),
        (IMAGENET, (192, 192, 3), "takes sides of 224, 256 in the imagenet frame"),
        (IMAGENET, (230, 224, 3), "divisible by 32"),
    ],
)
def test_images_that_do_not_fit_are_refused(config, shape, message):
    net = make_network(zoo["DARTS_V2"].genotype, config)
    with pytest.raises(ValueError, match=message):
        net.init(jax.random.key(0), shape)
