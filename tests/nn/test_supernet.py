"""The supernet equals the torch search network."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax import interop
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.relax import softmax_mixing, unweighted
from egnas_jax.space import SPACES
from egnas_jax.types import Mixing

# the first one compiles for more than a minute
FILES = [
    pytest.param("supernet_k1_c4_l5", marks=pytest.mark.longest),
    "supernet_k2_c8_l3",
]


@pytest.fixture(scope="module", params=FILES)
def golden_supernet(request, load_golden_supernet):
    """Golden arrays of a torch network; our network, its variables, alpha, images."""
    golden, config, weights = load_golden_supernet(request.param)
    variables = interop.supernet_from_torch(weights, config)
    kinds = "normal", "reduce"
    alpha = {kind: jnp.asarray(golden[f"alpha_{kind}"]) for kind in kinds}
    images = jnp.transpose(jnp.asarray(golden["x"]), (0, 2, 3, 1))
    return golden, make_supernet(config), variables, alpha, images


@pytest.mark.slow
def test_training_equals_torch(golden_supernet, assert_close):
    golden, net, variables, alpha, images = golden_supernet
    labels = jnp.asarray(golden["y"], jnp.int32)

    def loss(params, alpha, images):
        logits, stats = net.apply(
            {**variables, "params": params}, images, softmax_mixing(alpha), train=True
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses), (logits, stats)

    step = jax.value_and_grad(loss, (0, 1), has_aux=True)
    step = jax.jit(step, compiler_options=lowering.compiler_options())
    # The network of 8 channels is so near a kink of its ReLUs that noise of a millionth
    # of a pixel leads to one of two gradients of alpha, 0.2 % apart.
    rng = np.random.default_rng(0)
    for size in (0.0, *[1e-6] * 11):
        noise = size * rng.normal(size=images.shape).astype(np.float32)
        (value, (logits, stats)), gradients = step(
            variables["params"], alpha, images + noise
        )
        if distance(gradients[1], golden) < 1e-5:
            break
    assert_close(logits, golden["logits_train"])
    np.testing.assert_allclose(value, golden["loss_train"], rtol=1e-5)
    assert_close(stats["stem"]["mean"][0], golden["after/stem.1.running_mean"])
    check_gradients(*gradients, golden, assert_close)


def distance(of_alpha, golden):
    return max(
        np.abs(actual - golden[f"g_alpha_{kind}"]).max()
        for kind, actual in of_alpha.items()
    )


def check_gradients(of_params, of_alpha, golden, assert_close):
    norm = optax.global_norm(of_params)
    np.testing.assert_allclose(norm, golden["grad_norm"], rtol=1e-4)
    first_cell = jax.tree.map(lambda leaf: leaf[0], of_params["groups"][0][0])
    sep_conv = first_cell["sep_conv_3x3"]
    torch_sep_conv = "g/cells.0._ops.0._ops.3.op"  # edge 0 leaves state 0
    for actual, expected in (
        *((of_alpha[kind], golden[f"g_alpha_{kind}"]) for kind in of_alpha),
        (of_params["stem"]["conv"], golden["g/stem.0.weight"]),
        (of_params["classifier"]["kernel"], golden["g/classifier.weight"]),
        (
            sep_conv["first"]["depthwise"][0],
            golden[f"{torch_sep_conv}.1.weight"][:, 0],
        ),
        (
            sep_conv["second"]["pointwise"][0],
            golden[f"{torch_sep_conv}.6.weight"][..., 0, 0],
        ),
    ):
        assert_close(actual, expected, 1e-4)


def test_a_population_equals_torch(golden_supernet, assert_close):
    golden, net, variables, alpha, images = golden_supernet
    members = jnp.asarray(golden["population"])
    population = unweighted({"normal": members[:, 0], "reduce": members[:, 1]})
    population = jax.tree.map(
        lambda first, others: jnp.concatenate([first[None], others]),
        softmax_mixing(alpha),
        population,
    )
    evaluate = jax.jit(
        jax.vmap(lambda m: net.apply(variables, images, m)[0]),
        compiler_options=lowering.compiler_options(),
    )
    logits = evaluate(population)
    assert_close(logits[0], golden["logits_eval"])
    assert_close(logits[1:], golden["logits_population_eval"])


@pytest.mark.parametrize(
    "config, count",
    [
        (SupernetConfig(), 299_578),
        (SupernetConfig(num_classes=100), 322_708),
        (SupernetConfig(partial_channels=1, space="darts8", pool_bn=True), 1_930_618),
    ],
)
def test_number_of_weights(config, count):
    init = make_supernet(config).init
    shapes = jax.eval_shape(lambda key: init(key), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count


def test_weights_that_do_not_fit_are_named(load_golden_supernet):
    _, config, weights = load_golden_supernet("supernet_k2_c8_l3")
    missing = {n: w for n, w in weights.items() if n != "classifier.bias"}
    with pytest.raises(ValueError, match="missing: classifier.bias"):
        interop.supernet_from_torch(missing, config)
    with pytest.raises(ValueError, match="unexpected: alien"):
        interop.supernet_from_torch({**weights, "alien": np.zeros(3)}, config)
    wider = dataclasses.replace(config, num_classes=config.num_classes + 2)
    with pytest.raises(ValueError, match="classifier"):
        interop.supernet_from_torch(weights, wider)


def test_a_space_itself_is_refused_with_its_name():
    with pytest.raises(ValueError, match="space darts7 itself, .*: give 'darts7'"):
        SupernetConfig(space=SPACES["darts7"])


def test_channels_that_k_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="divisible"):
        SupernetConfig(channels=6, partial_channels=4)


@pytest.mark.parametrize(
    "shape, fitting",
    [((10, 8, 3), "12x8"), ((2, 4, 1), "4x4"), ((0, 4, 1), "4x4"), ((5, 5), "8x8")],
)
def test_images_that_two_reductions_cannot_halve_are_refused(shape, fitting):
    net = make_supernet(SupernetConfig(channels=4, layers=2))
    with pytest.raises(ValueError, match=rf"{re.escape(str(shape))}.*to {fitting}"):
        net.init(jax.random.key(0), shape)


@pytest.mark.parametrize(
    "shapes, message",
    [
        # gathering with constant indices would clamp those of edges that are lacking
        (((9, 7), (9,)), r"primitives\['normal'\].*\(14, 7\); got shape \(9, 7\)"),
        (((20, 7), (20,)), r"primitives\['normal'\].*got shape \(20, 7\)"),
        (((14, 8), (14,)), r"primitives\['normal'\].*got shape \(14, 8\)"),
        (((14, 7), (13,)), r"edges\['normal'\].*\(14,\); got shape \(13,\)"),
        (((5, 14, 7), (5, 14)), r"primitives\['normal'\].*got shape \(5, 14, 7\)"),
    ],
)
def test_a_mixing_of_another_shape_is_refused(shapes, message):
    net = make_supernet(SupernetConfig(channels=4, layers=1))
    primitives, edges = (
        {kind: jax.ShapeDtypeStruct(shape, "float32") for kind in ("normal", "reduce")}
        for shape in shapes
    )

    def logits(images, mixing):
        return net.apply(net.init(jax.random.key(0), (8, 8, 3)), images, mixing)[0]

    images = jax.ShapeDtypeStruct((2, 8, 8, 3), "float32")
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(logits, images, Mixing(primitives, edges))
