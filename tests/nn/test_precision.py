"""bfloat16 activations: what stays float32, and how far results move."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.nn import layers, lowering
from egnas_jax.nn.layers import Affine
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.runs.search_config import build
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.space import SPACES, Space

SHORT = jnp.bfloat16
# one state of stride 2 and one of stride 1, and each kind of primitive
SPACE = Space(
    "small",
    primitives=(
        "avg_pool_3x3",
        "max_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "dil_conv_3x3",
    ),
    num_nodes=2,
)


@pytest.fixture(scope="module", autouse=True)
def config():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        yield SupernetConfig(
            channels=4, layers=1, partial_channels=2, num_classes=4, space=SPACE.name
        )


def ones(*shape):
    return jnp.ones(shape, SHORT)


def gradient_of_sum(function, x):
    return jax.grad(lambda x: function(x).astype(jnp.float32).sum())(x)


# Ones that are added up in bfloat16, one after another, stop at 256. Totals that come
# back in bfloat16 have at most eight binary digits here, so that they are not rounded.


def test_channels_are_added_up_in_float32():
    x, kernel = ones(1, 1000, 1, 1, 2), jnp.ones((1, 1, 1000))
    out = lowering.pointwise(x, kernel)
    assert out.dtype == SHORT
    np.testing.assert_array_equal(np.float32(out), 1000.0)


def test_taps_are_added_up_in_float32():
    kernel = jnp.ones((1, 1, 7, 7)).at[0, 0, 0, 0].set(256.0)
    out = lowering.depthwise(ones(1, 1, 7, 7, 2), kernel)
    assert out.dtype == SHORT
    np.testing.assert_array_equal(np.float32(out[0, 0, 3, 3]), 256.0 + 48.0)
    pixels = ones(1, 1, 3, 3, 2).at[0, 0, 0, 0].set(256.0)
    mean = lowering.avg_pool(pixels)[0, 0, 1, 1]
    np.testing.assert_array_equal(np.float32(mean), np.float32(SHORT(264.0 / 9.0)))


def test_pixels_and_images_are_added_up_in_float32():
    x = ones(1, 1, 1, 1, 257)  # has nine binary digits
    for operation, kernel in (
        (lowering.depthwise, jnp.ones((1, 1, 3, 3))),
        (lowering.pointwise, jnp.ones((1, 1, 1))),
    ):
        of_kernel = gradient_of_sum(lambda k, op=operation: op(x, k), kernel)
        assert of_kernel.dtype == jnp.float32
        assert of_kernel.max() == 257
    mean, var = layers.moments(x)
    assert (mean.dtype, mean.item(), var.item()) == (jnp.float32, 1.0, 0.0)


def test_gradients_of_what_edges_share_are_added_up_in_float32():
    kernel = jnp.ones((300, 1, 1, 1))
    for function in (
        lambda x: lowering.for_edges(x, 300),
        lambda x: lowering.depthwise(x, kernel),
    ):
        gradient = gradient_of_sum(function, ones(1, 1, 2, 2, 1))
        assert gradient.dtype == SHORT
        np.testing.assert_array_equal(np.float32(gradient), 300.0)


def test_gradients_of_windows_are_added_up_in_float32():
    """One pixel wins all nine windows; the last that it is in weighs 256."""
    x = jnp.zeros((1, 3, 3, 1), SHORT).at[0, 1, 1, 0].set(1.0)
    weight = ones(*x.shape).at[0, 0, 0, 0].set(256.0)
    gradient = gradient_of_sum(lambda x: weight * lowering.max_pool(x), x)
    assert gradient.dtype == SHORT
    np.testing.assert_array_equal(np.float32(gradient[0, 1, 1, 0]), 264.0)


def test_an_affine_is_rounded_once():
    one = jnp.ones((1, 1))
    affine = Affine(256.0 * ones(1, 1, 1, 1, 1), one, one)
    assert affine.wide().dtype == jnp.float32 and affine.wide() == 257.0
    assert affine.value().dtype == SHORT and affine.value() == 256.0


def problem():
    key_images, key_alpha = jax.random.split(jax.random.key(3))
    alpha = unflatten(SPACE, jax.random.normal(key_alpha, (SPACE.dim,)))
    images = jax.random.normal(key_images, (16, 8, 8, 3))
    return images, jnp.arange(16) % 4, softmax_mixing(alpha)


def step_of(config, dtype):
    """(variables) -> loss, logits in training and evaluation, statistics, gradient."""
    net = make_supernet(dataclasses.replace(config, dtype=dtype))
    images, labels, mixing = problem()

    def loss(params, stats):
        variables = {"params": params, "batch_stats": stats}
        logits, moved = net.apply(variables, images, mixing, train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), (logits, net.apply(variables, images, mixing)[0], moved)

    return lambda variables: jax.value_and_grad(loss, has_aux=True)(
        variables["params"], variables["batch_stats"]
    )


@pytest.fixture(scope="module")
def exact_and_short(config):
    """The same step in both dtypes."""
    variables = make_supernet(config).init(jax.random.key(0), (8, 8, 3))
    options = lowering.compiler_options()
    return [
        jax.jit(step_of(config, dtype), compiler_options=options)(variables)
        for dtype in ("float32", "bfloat16")
    ]


def test_all_that_leaves_the_network_is_float32(exact_and_short):
    leaves = jax.tree.leaves(exact_and_short[1])
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
    assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_results_are_near_float32_and_not_the_same(exact_and_short):
    def apart(a, b):
        return np.abs(a - b).max() / np.abs(a).max()

    exact, short = exact_and_short
    for a, b in zip(jax.tree.leaves(exact[0]), jax.tree.leaves(short[0]), strict=True):
        assert apart(a, b) < 0.03
    (_, (train, running, _)), _ = exact
    (_, (short_train, short_running, _)), _ = short
    assert apart(train, short_train) > 1e-4 < apart(running, short_running)


def test_gradients_point_the_same_way(exact_and_short):
    (_, exact), (_, short) = exact_and_short
    whole = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
        for gradient in (exact, short)
    ]
    cosine = np.dot(*whole) / np.prod([np.linalg.norm(part) for part in whole])
    assert 0.999 < cosine < 0.9999999


def arrays_kept(jaxpr):
    """Floating arrays of pixels behind an optimisation barrier, at any depth."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "optimization_barrier":
            for out in equation.outvars:
                if out.aval.ndim > 3 and jnp.issubdtype(out.aval.dtype, jnp.floating):
                    yield out.aval
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from arrays_kept(inner)


def test_every_array_of_pixels_that_is_kept_is_short(config):
    """Forward and backward: or bfloat16 would save no memory."""
    variables = make_supernet(config).init(jax.random.key(0), (8, 8, 3))
    step = jax.make_jaxpr(step_of(config, "bfloat16"))(variables)
    kept = list(arrays_kept(step.jaxpr))
    assert len(kept) > 50
    assert {aval.dtype for aval in kept} == {jnp.dtype(SHORT)}


def test_a_search_takes_the_dtype_by_its_path():
    given = build(overrides=["supernet.dtype=bfloat16"])
    assert given.supernet.dtype == "bfloat16" and build().supernet.dtype == "float32"


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="supernet.dtype is 'float16'.*bfloat16"):
        SupernetConfig(dtype="float16")
