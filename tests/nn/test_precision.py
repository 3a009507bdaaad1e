"""bfloat16 activations: all sums stay float32, and results stay near float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.nn import layers, lowering
from egnas_jax.nn.layers import Affine
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.runs.search_config import search_config
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.space import SPACES, Space

SHORT = jnp.bfloat16
# A state read with stride 2 and one read with stride 1, and each kind of primitive.
SPACE = Space(
    "small",
    tuple(name for name in SPACES["darts7"].primitives if "5x5" not in name),
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


# A sum of ones that is accumulated in bfloat16 stops at 256. The totals below that are
# returned in bfloat16 have at most eight binary digits, so they are not rounded.


def test_channels_are_summed_in_float32():
    x, kernel = ones(1, 1000, 1, 1, 2), jnp.ones((1, 1, 1000))
    out = lowering.pointwise(x, kernel)
    assert out.dtype == SHORT
    np.testing.assert_array_equal(np.float32(out), 1000.0)


def test_taps_are_summed_in_float32():
    kernel = jnp.ones((1, 1, 7, 7)).at[0, 0, 0, 0].set(256.0)
    out = lowering.depthwise(ones(1, 1, 7, 7, 2), kernel)
    assert out.dtype == SHORT
    np.testing.assert_array_equal(np.float32(out[0, 0, 3, 3]), 256.0 + 48.0)
    pixels = ones(1, 1, 3, 3, 2).at[0, 0, 0, 0].set(256.0)
    mean = lowering.avg_pool(pixels)[0, 0, 1, 1]
    np.testing.assert_array_equal(np.float32(mean), np.float32(SHORT(264.0 / 9.0)))


def test_pixels_and_images_are_summed_in_float32():
    x = ones(1, 1, 1, 1, 257)  # 257 has nine binary digits
    for operation, kernel in (
        (lowering.depthwise, jnp.ones((1, 1, 3, 3))),
        (lowering.pointwise, jnp.ones((1, 1, 1))),
    ):
        gradient = gradient_of_sum(lambda k, op=operation: op(x, k), kernel)
        assert gradient.dtype == jnp.float32
        assert gradient.max() == 257
    mean, var = layers.moments(x)
    assert (mean.dtype, mean.item(), var.item()) == (jnp.float32, 1.0, 0.0)


def test_gradients_of_a_state_are_summed_over_edges_in_float32():
    kernel = jnp.ones((300, 1, 1, 1))
    for function in (
        lambda x: lowering.broadcast_edges(x, 300),
        lambda x: lowering.depthwise(x, kernel),
    ):
        gradient = gradient_of_sum(function, ones(1, 1, 2, 2, 1))
        assert gradient.dtype == SHORT
        np.testing.assert_array_equal(np.float32(gradient), 300.0)


def test_gradients_of_windows_are_summed_in_float32():
    """One pixel is the maximum of all nine windows; one window has the weight 256."""
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


def make_step(config, dtype):
    """variables -> (loss, (training logits, evaluation logits, stats)), gradient."""
    net = make_supernet(dataclasses.replace(config, dtype=dtype))
    images, labels, mixing = problem()

    def loss(params, stats):
        variables = {"params": params, "batch_stats": stats}
        logits, new_stats = net.apply(variables, images, mixing, train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        evaluation_logits, _ = net.apply(variables, images, mixing)
        return losses.mean(), (logits, evaluation_logits, new_stats)

    return lambda variables: jax.value_and_grad(loss, has_aux=True)(
        variables["params"], variables["batch_stats"]
    )


@pytest.fixture(scope="module")
def both_steps(config):
    """The results of the same step in float32 and in bfloat16."""
    variables = make_supernet(config).init(jax.random.key(0), (8, 8, 3))
    options = lowering.compiler_options()
    return [
        jax.jit(make_step(config, dtype), compiler_options=options)(variables)
        for dtype in ("float32", "bfloat16")
    ]


@pytest.mark.slow
def test_logits_statistics_and_gradients_are_float32(both_steps):
    leaves = jax.tree.leaves(both_steps[1])
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
    assert all(np.isfinite(leaf).all() for leaf in leaves)


@pytest.mark.slow
def test_results_are_near_those_of_float32_but_not_equal(both_steps):
    def distance(a, b):
        return np.abs(a - b).max() / np.abs(a).max()

    (exact, _), (short, _) = both_steps
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(short), strict=True):
        assert distance(a, b) < 0.03
    (_, (*exact_logits, _)), (_, (*short_logits, _)) = exact, short
    for a, b in zip(exact_logits, short_logits, strict=True):
        assert distance(a, b) > 1e-4


@pytest.mark.slow
def test_gradients_have_nearly_the_direction_of_float32(both_steps):
    vectors = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
        for _, gradient in both_steps
    ]
    norms = [np.linalg.norm(vector) for vector in vectors]
    cosine = np.dot(*vectors) / np.prod(norms)
    assert 0.999 < cosine < 0.9999999


def stored_arrays(jaxpr):
    """Floating arrays of pixels behind an optimisation barrier, at any depth."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "optimization_barrier":
            for out in equation.outvars:
                if out.aval.ndim > 3 and jnp.issubdtype(out.aval.dtype, jnp.floating):
                    yield out.aval
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from stored_arrays(inner)


def test_every_stored_array_of_pixels_is_bfloat16(config):
    """Otherwise bfloat16 would save no memory in the forward or backward pass."""
    variables = make_supernet(config).init(jax.random.key(0), (8, 8, 3))
    step = jax.make_jaxpr(make_step(config, "bfloat16"))(variables)
    stored = list(stored_arrays(step.jaxpr))
    assert len(stored) > 50
    assert {array.dtype for array in stored} == {jnp.dtype(SHORT)}


def test_a_search_sets_the_dtype_by_its_path():
    config = search_config(settings={"supernet.dtype": "bfloat16"})
    assert config.supernet.dtype == "bfloat16"
    assert search_config().supernet.dtype == "float32"


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="supernet.dtype is 'float16'.*bfloat16"):
        SupernetConfig(dtype="float16")
