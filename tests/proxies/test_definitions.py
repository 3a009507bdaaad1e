"""Every proxy equals its definition on networks whose values are known by hand.

The network has two linear layers and a ReLU between them, which expose their arrays:
x -> relu(a x) -> b relu(a x), for images of one pixel and one channel.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import egnas_jax as eg
from egnas_jax.nn import intermediates
from egnas_jax.proxies import PROXIES, ProxyNetwork, normal_kernels, of_network, score
from egnas_jax.proxies.activation import JACOV_SHIFT, ZEN_SHARE
from egnas_jax.proxies.network import read_intermediates, without_norms
from egnas_jax.types import Batch

A = np.asarray([[1.0], [-2.0], [0.5]])  # [hidden, inputs]
B = np.asarray([[1.0, 3.0, -1.0], [2.0, 0.5, 1.0]])  # [classes, hidden]
X = np.asarray([1.0, -1.0, 2.0])
LABELS = np.asarray([0, 1, 1])


def _logits(variables, images, train):
    del train
    params = variables["params"]
    x = images[:, 0, 0, :].T  # [inputs, N]
    hidden = intermediates.expose_one(intermediates.KERNEL, params["a"], pixels=4) @ x
    hidden = intermediates.expose_one(intermediates.OUTPUT, hidden[:, None, None])[
        :, 0, 0
    ]
    intermediates.expose_one(intermediates.VARIANCE, jnp.var(hidden, axis=1))
    hidden = jnp.maximum(hidden, 0.0)
    hidden = intermediates.expose_one(intermediates.RELU, hidden[:, None, None])[
        :, 0, 0
    ]
    hidden = intermediates.expose_one(intermediates.FEATURES, hidden[:, None, None])[
        :, 0, 0
    ]
    logits = (
        intermediates.expose_one(intermediates.KERNEL, params["classifier"]["kernel"])
        @ hidden
    )
    return intermediates.expose_one(intermediates.OUTPUT, logits[:, None, None])[
        :, 0, 0
    ].T


TOY = ProxyNetwork(_logits)
VARIABLES = {
    "params": {
        "a": jnp.asarray(A, jnp.float32),
        "classifier": {"kernel": jnp.asarray(B, jnp.float32), "bias": jnp.zeros(2)},
    },
    "batch_stats": {},
}
BATCH = Batch(
    jnp.asarray(X, jnp.float32)[:, None, None, None], jnp.asarray(LABELS, jnp.int32)
)


def score_of(name, network=TOY, variables=VARIABLES, batch=BATCH):
    return float(PROXIES[name].score(network, variables, batch, jax.random.key(0)))


def loss(a, b):
    """Mean cross entropy in float64 of numpy."""
    logits = b @ np.maximum(a * X, 0)
    shifted = logits - logits.max(axis=0)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=0))
    return -log_probabilities[LABELS, np.arange(len(X))].mean()


def gradients(a=A, b=B):
    """The loss's gradient with respect to a and b by the chain rule, in numpy."""
    hidden = np.maximum(a * X, 0)
    logits = b @ hidden
    p = np.exp(logits - logits.max(axis=0))
    error = p / p.sum(axis=0) - np.eye(2)[:, LABELS]  # [classes, N]
    error /= len(X)
    of_hidden = b.T @ error * (hidden > 0)
    return of_hidden @ X[:, None], error @ hidden.T, of_hidden, error


def test_the_gradient_of_the_oracle_is_that_of_its_loss():
    step = 1e-6
    moved = A.copy()
    moved[1, 0] += step
    assert (loss(moved, B) - loss(A, B)) / step == pytest.approx(
        gradients()[0][1, 0], abs=1e-5
    )


def test_sizes_count_kernels_norms_and_the_bias():
    assert score_of("params") == 3 + 6 + 2 * 3 + 2
    assert score_of("multiply_adds") == 3 * 4 + 6


def test_l2_norm_sums_the_norms_of_the_layers():
    assert score_of("l2_norm") == pytest.approx(
        np.sqrt(1 + 4 + 0.25) + np.sqrt(1 + 9 + 1 + 4 + 0.25 + 1)
    )


def test_grad_norm_and_snip_are_sums_over_the_gradient():
    of_a, of_b, *_ = gradients()
    norms = np.linalg.norm(of_a) + np.linalg.norm(of_b)
    assert score_of("grad_norm") == pytest.approx(norms, rel=1e-5)
    saliency = np.abs(A * of_a).sum() + np.abs(B * of_b).sum()
    assert score_of("snip") == pytest.approx(saliency, rel=1e-5)


def test_grasp_is_minus_the_weights_times_the_hessian_times_the_gradient():
    of_a, of_b, *_ = gradients()
    step = 1e-6
    ahead = gradients(A + step * of_a, B + step * of_b)
    behind = gradients(A - step * of_a, B - step * of_b)
    products = [
        (p - m) / (2 * step) for p, m in zip(ahead[:2], behind[:2], strict=True)
    ]
    expected = -(A * products[0]).sum() - (B * products[1]).sum()
    assert score_of("grasp") == pytest.approx(expected, rel=1e-4)


def test_synflow_is_the_logarithm_of_the_flow_through_all_layers():
    # each layer's sum of weight * gradient is the flow itself
    flow = (np.abs(B) @ np.abs(A)).sum()
    assert score_of("synflow") == pytest.approx(np.log(2 * flow), rel=1e-5)


def test_synflow_does_not_overflow_and_tells_that_there_is_no_flow():
    large = jax.tree.map(lambda leaf: leaf * 1e21, VARIABLES)
    expected = np.log(2 * (np.abs(B) @ np.abs(A)).sum()) + 2 * 21 * np.log(10)
    assert score_of("synflow", variables=large) == pytest.approx(expected, rel=1e-5)
    empty = jax.tree.map(jnp.zeros_like, VARIABLES)
    assert score_of("synflow", variables=empty) == -np.inf


def test_fisher_squares_activations_times_gradients_of_each_image():
    _, _, of_hidden, error = gradients()
    pre = A * X
    logits = B @ np.maximum(pre, 0)
    expected = sum(
        0.5 * ((y * g) ** 2).mean(axis=1).sum()
        for y, g in ((pre, of_hidden), (logits, error))
    )
    assert score_of("fisher") == pytest.approx(expected, rel=1e-5)


def test_naswot_is_the_determinant_of_agreeing_codes():
    # units on: image 0 {0, 2}, image 1 {1}, image 2 as image 0
    assert score_of("naswot") == -np.inf
    two = Batch(BATCH.images[:2], BATCH.labels[:2])  # no unit agrees: K = 3 I
    assert score_of("naswot", batch=two) == pytest.approx(2 * np.log(3))


def test_naswot_counts_a_relu_as_often_as_edges_read_it():
    def read_by(weights):
        def logits(variables, images, train):
            value = images[:, 0, 0, :].T[None, :, None, None]
            with intermediates.weighted(jnp.asarray(weights)):
                intermediates.expose(intermediates.RELU, value, edges=len(weights))
            return images[:, 0, 0, :]

        batch = Batch(BATCH.images[:2], BATCH.labels[:2])
        return score_of("naswot", ProxyNetwork(logits), batch=batch)

    assert read_by([1.0, 0.0]) == pytest.approx(0.0)
    assert read_by([1.0, 1.0]) == pytest.approx(2 * np.log(2))


def test_jacov_reads_the_correlations_of_gradients_with_respect_to_images():
    first, second = np.asarray([1.0, 0.0, 2.0]), np.asarray([0.0, 1.0, 5.0])

    def logits(variables, images, train):
        weights = jnp.asarray(np.stack([first, second]), jnp.float32)
        return jnp.sum(images[:, 0, 0, :] * weights, axis=1, keepdims=True)

    batch = Batch(jnp.ones((2, 1, 1, 3)), BATCH.labels[:2])
    r = np.corrcoef(first, second)[0, 1]
    shifted = np.asarray([1 - r, 1 + r]) + JACOV_SHIFT
    expected = -(np.log(shifted) + 1 / shifted).sum()
    assert score_of("jacov", ProxyNetwork(logits), batch=batch) == pytest.approx(
        expected, rel=1e-3
    )
    # with one input the gradients of an image are constant, and have no correlation
    assert np.isnan(score_of("jacov"))


def test_zen_adds_the_change_of_features_and_the_deviations_of_norms():
    keys = jax.random.split(jax.random.key(0))
    noise = [
        np.asarray(jax.random.normal(key, (3, 1, 1, 1)))[:, 0, 0, 0] for key in keys
    ]
    pre = A * noise[0]
    moved = A * (noise[0] + ZEN_SHARE * noise[1])
    change = np.abs(np.maximum(pre, 0) - np.maximum(moved, 0)).sum() / 3
    expected = np.log(change) + 0.5 * np.log(pre.var(axis=1).mean() + 1e-5)
    assert score_of("zen") == pytest.approx(expected, rel=1e-3)


def test_kernels_of_zen_are_standard_normal_and_norms_stay():
    params = {"conv": jnp.zeros((40, 50)), "norm": {"scale": jnp.full(3, 2.0)}}
    drawn = normal_kernels(jax.random.key(1), {"params": params, "batch_stats": {}})
    kernel = np.asarray(drawn["params"]["conv"])
    assert abs(kernel.mean()) < 0.1 and abs(kernel.std() - 1) < 0.1
    np.testing.assert_array_equal(drawn["params"]["norm"]["scale"], 2.0)


def test_only_proxies_that_say_so_read_the_labels():
    other = Batch(BATCH.images, 1 - BATCH.labels)
    for name, proxy in PROXIES.items():
        changed = score_of(name, batch=other) != score_of(name)
        if not np.isnan(score_of(name)):
            assert changed == ("labels" in proxy.needs), name


def test_only_proxies_that_say_so_read_the_pixels():
    other = Batch(
        BATCH.images * jnp.asarray([1.0, 3.0, -2.0])[:, None, None, None], BATCH.labels
    )
    for name in ("params", "multiply_adds", "l2_norm", "synflow", "zen"):
        assert "images" not in PROXIES[name].needs
        assert score_of(name, batch=other) == score_of(name)
    for name in ("grad_norm", "snip", "grasp", "fisher"):
        assert score_of(name, batch=other) != score_of(name)


def test_norms_are_left_out_where_the_flow_needs_it():
    norm = {"scale": jnp.full(2, 3.0), "bias": jnp.ones(2)}
    stats = {"mean": jnp.ones(2), "var": jnp.full(2, 4.0)}
    bare = without_norms({"params": {"n": norm}, "batch_stats": {"n": stats}})
    from egnas_jax.nn.layers import batch_norm

    x = jnp.arange(8.0).reshape(1, 2, 2, 2, 1)
    trees = (
        jax.tree.map(lambda leaf: leaf[None], bare[part]["n"])
        for part in ("params", "batch_stats")
    )
    np.testing.assert_allclose(batch_norm(*trees, x, False)[0], x, rtol=1e-6)


def test_sizes_of_derived_networks_are_those_of_the_published_counts():
    text = (
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|"
        "+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    )
    cell = eg.Topology.parse(text)
    config = eg.NetworkConfig(channels=4, layers=8, auxiliary=False, drop_path=0.0)
    network = eg.make_network(cell, config)
    variables = network.init(jax.random.key(0), (8, 8, 3))
    batch = Batch(jnp.zeros((1, 8, 8, 3)), jnp.zeros(1, jnp.int32))

    @jax.jit
    def sizes():
        names = ("params", "multiply_adds")
        return score(names, of_network(network), variables, batch, jax.random.key(0))

    scores = sizes()
    assert scores["params"] == eg.count_params(cell, config)
    assert scores["multiply_adds"] == eg.multiply_adds(cell, config, 8)


def test_a_network_that_nobody_reads_is_unchanged():
    x = jnp.ones((1, 2))
    assert intermediates.expose(intermediates.KERNEL, x) is x
    assert intermediates.expose_one(intermediates.KERNEL, x) is x
    assert not intermediates.is_read()
    with (
        pytest.raises(RuntimeError, match="inside"),
        intermediates.read_by(lambda one: one.value),
    ):
        assert intermediates.is_read()
        raise RuntimeError("inside")
    assert not intermediates.is_read()


def test_layers_are_read_in_the_order_of_the_computation():
    exposed = read_intermediates(TOY, VARIABLES, BATCH.images, train=True)
    assert [one.site for one in exposed] == (
        "kernel output variance relu features kernel output".split()
    )
