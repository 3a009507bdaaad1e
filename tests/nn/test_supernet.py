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

FILES = ["supernet_k1_c4_l5", "supernet_k2_c8_l3"]


def close(ours, theirs, tolerance, what=""):
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(
        ours / scale, theirs / scale, atol=tolerance, err_msg=what
    )


@pytest.fixture(scope="module", params=FILES)
def taken_over(request, load_golden_supernet):
    """A torch search network: its golden arrays, ours with its weights, images."""
    z, config, weights = load_golden_supernet(request.param)
    variables = interop.supernet_from_torch(weights, config)
    alpha = {kind: jnp.asarray(z[f"alpha_{kind}"]) for kind in ("normal", "reduce")}
    images = jnp.transpose(jnp.asarray(z["x"]), (0, 2, 3, 1))
    return z, make_supernet(config), variables, alpha, images


def test_training_equals_torch(taken_over):
    z, net, variables, alpha, images = taken_over
    labels = jnp.asarray(z["y"], jnp.int32)

    def loss(params, alpha):
        logits, stats = net.apply(
            {**variables, "params": params}, images, softmax_mixing(alpha), train=True
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses), (logits, stats)

    step = jax.value_and_grad(loss, (0, 1), has_aux=True)
    step = jax.jit(step, compiler_options=lowering.compiler_options())
    (value, (logits, stats)), gradients = step(variables["params"], alpha)
    close(logits, z["logits_train"], 1e-5)
    np.testing.assert_allclose(value, z["loss_train"], rtol=1e-5)
    close(stats["stem"]["mean"][0], z["after/stem.1.running_mean"], 1e-5)
    g_params, g_alpha = gradients
    norm = optax.global_norm(g_params)
    np.testing.assert_allclose(norm, z["grad_norm"], rtol=1e-4)
    for kind in alpha:
        close(g_alpha[kind], z[f"g_alpha_{kind}"], 1e-4)
    close(g_params["stem"]["conv"], z["g/stem.0.weight"], 1e-4)
    close(g_params["classifier"]["kernel"], z["g/classifier.weight"], 1e-4)
    first = jax.tree.map(lambda leaf: leaf[0], g_params["groups"][0][0])
    ops = "g/cells.0._ops.0._ops.3.op"  # edge 0 leaves state 0
    sep = first["sep_conv_3x3"]
    close(sep["first"]["depthwise"][0], z[f"{ops}.1.weight"][:, 0], 1e-4)
    close(sep["second"]["pointwise"][0], z[f"{ops}.6.weight"][..., 0, 0], 1e-4)


def test_a_population_equals_torch(taken_over):
    z, net, variables, alpha, images = taken_over
    members = jnp.asarray(z["population"])
    population = unweighted({"normal": members[:, 0], "reduce": members[:, 1]})
    population = jax.tree.map(
        lambda own, others: jnp.concatenate([own[None], others]),
        softmax_mixing(alpha),
        population,
    )
    evaluate = jax.jit(
        jax.vmap(lambda m: net.apply(variables, images, m)[0]),
        compiler_options=lowering.compiler_options(),
    )
    logits = evaluate(population)
    close(logits[0], z["logits_eval"], 1e-5)
    close(logits[1:], z["logits_population_eval"], 1e-5)


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
    other = dataclasses.replace(config, num_classes=config.num_classes + 2)
    with pytest.raises(ValueError, match="classifier"):
        interop.supernet_from_torch(weights, other)


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
