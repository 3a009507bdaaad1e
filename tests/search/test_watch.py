"""Curvature equals other ways to compute it; the stop rule by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax import EGNASConfig
from egnas_jax.nn.layers import moments, rectify
from egnas_jax.search.curvature import (
    alpha_loss,
    check_alpha,
    hessian_products,
    largest_eigenvalue,
)
from egnas_jax.search.relax import flatten, softmax_mixing, unflatten
from egnas_jax.search.watch import WatchConfig, stop_epoch
from egnas_jax.space import SPACES
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.darts import DARTSConfig
from egnas_jax.types import Batch

SPACE = SPACES["darts7"]
KEY = jax.random.key(2)
CONFIGS = {"egnas": EGNASConfig(), "darts": DARTSConfig()}


def test_the_largest_eigenvalue_is_that_of_a_known_matrix():
    values = np.array([-9.0, *np.linspace(-1, 1, 28), 4.0], np.float32)
    basis = np.linalg.qr(np.random.default_rng(3).standard_normal((30, 30)))[0]
    matrix = jnp.asarray((basis * values) @ basis.T, jnp.float32)
    for method in ("exact", "lanczos"):
        found = largest_eigenvalue(lambda rows: rows @ matrix, 30, method)
        assert found == pytest.approx(4.0, rel=1e-4)  # the largest, not the longest
        assert np.isnan(largest_eigenvalue(lambda rows: rows * jnp.nan, 30, method))


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_exact_and_lanczos_are_the_curvature_of_the_loss(name, toy_net, toy_batch):
    """Against second differences of gradients, in float32: a few per mille."""
    strategy = STRATEGIES[name][1](toy_net, CONFIGS[name])
    variables = toy_net.init(jax.random.key(1))
    alpha = unflatten(SPACE, jax.random.normal(KEY, (SPACE.dim,)))
    state = strategy.init(KEY, strategy.hyperparams).replace(alpha=alpha)
    # labels that the network misses, so that the curvature is not small
    batch = Batch(toy_batch.images, (toy_batch.labels + 1) % 3)

    @jax.jit
    def products(directions):
        loss = alpha_loss(toy_net, strategy, variables, batch, state)
        return hessian_products(loss, flatten(SPACE, alpha), directions)

    exact, lanczos = (
        largest_eigenvalue(products, SPACE.dim, method)
        for method in ("exact", "lanczos")
    )
    assert exact > 1e-3
    assert lanczos == pytest.approx(exact, rel=1e-3)

    def loss(z):
        logits, _ = toy_net.apply(
            variables, batch.images, softmax_mixing(unflatten(SPACE, z)), train=True
        )
        return jnp.mean(
            optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        )

    gradient = jax.jit(jax.vmap(jax.grad(loss)))
    steps = 0.05 * jnp.eye(SPACE.dim)
    centre = flatten(SPACE, alpha)[None]
    differences = (gradient(centre + steps) - gradient(centre - steps)) / 0.1
    expected = np.linalg.eigvalsh(np.asarray(differences + differences.T) / 2)[-1]
    assert exact == pytest.approx(expected, rel=1e-2)


def test_second_derivatives_pass_through_gradients_written_by_hand():
    """Of sum(rectify(a x)^2) + var(a x), by hand 2 sum(x+^2) + 2 var(x)."""
    x = jnp.asarray([[1.0, -2.0], [3.0, 0.5]])[None, :, :, None]

    def value(a):
        _, var = moments(a * x)
        return jnp.sum(rectify(a * x) ** 2) + jnp.sum(var)

    second = jax.grad(lambda a: jax.grad(value)(a))(jnp.float32(1.5))
    expected = 2 * (1 + 9 + 0.25) + 2 * float(np.var([1.0, -2.0, 3.0, 0.5]))
    assert float(second) == pytest.approx(expected, rel=1e-5)


def test_the_rule_compares_centred_means_delta_apart():
    rule = WatchConfig("exact", stop=True)
    jump = [1.0] * 18 + [2.0] * 10  # from epoch 18 on
    # the window around 16 holds one 2: 1.2; that around 17 two: 1.4 > 1.3
    assert stop_epoch(jump[:19], rule) is None
    assert stop_epoch(jump[:20], rule) == 13
    assert stop_epoch([1.0] * 8 + [2.0] * 3, rule) is None  # before epoch 10
    assert stop_epoch([*jump[:18], None, 2.0], rule) is None
    assert stop_epoch([2.0] * 30, rule) is None
    short = WatchConfig("exact", stop=True, start=0, delta=1)
    # windows cut off at the start: epochs 0 to 2 against 0 to 3
    assert stop_epoch([1.0, 1.0, 1.0, 5.0], short) == 0


def test_settings_that_make_no_rule_are_refused(toy_net):
    for wrong, told in (
        ({"eigenvalue": "all"}, "must be one of"),
        ({"stop": True}, "watch.eigenvalue is off"),
        ({"window": 4}, "must be odd"),
        ({"delta": 0}, "watch.delta is 0"),
    ):
        with pytest.raises(ValueError, match=told):
            WatchConfig(**wrong)
    kind, make = STRATEGIES["random_search"]
    with pytest.raises(ValueError, match="does not have"):
        check_alpha(make(toy_net, kind()))
