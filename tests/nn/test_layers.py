"""Hand-written gradients equal autodiff; folded norms equal computed ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn import layers, lowering
from egnas_jax.nn.layers import Affine

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


X = normal(2, 3, 4, 5, 6)  # [E, C, H, W, N]


def test_the_gradient_of_moments_equals_autodiff():
    axes, mean_weights, var_weights = (-3, -2, -1), normal(2, 3), normal(2, 3)

    def total(moments):
        mean, var = moments
        return jnp.sum(mean_weights * mean) + jnp.sum(var_weights * var)

    actual = jax.grad(lambda x: total(layers.moments(x)))(X)
    expected = jax.grad(lambda x: total((x.mean(axes), x.var(axes))))(X)
    np.testing.assert_allclose(actual, expected, atol=1e-7)


def test_the_gradient_of_rectify_equals_that_of_relu():
    x = X.at[0, 0].set(0.0).at[0, 1, 0, 0, 0].set(jnp.nan)
    weight = normal(*x.shape)

    def gradient(rectify):
        return jax.grad(lambda x: (weight * rectify(x)).sum())(x)

    np.testing.assert_array_equal(layers.rectify(x), jax.nn.relu(x))
    np.testing.assert_array_equal(gradient(layers.rectify), gradient(jax.nn.relu))
    assert jnp.isnan(layers.rectify(x)[0, 1, 0, 0, 0])


def affine_by_definition(weight, bias):
    y = X
    if weight is not None:
        weight = jax.vmap(jnp.diag)(weight) if weight.ndim == 2 else weight
        y = jnp.einsum("eoc,echwn->eohwn", weight, X)
    return y if bias is None else y + bias[..., None, None, None]


@pytest.mark.parametrize("weight", [None, normal(2, 3), normal(2, 4, 3)])
@pytest.mark.parametrize("shift", [False, True])
def test_an_affine_is_weight_times_x_plus_shift(weight, shift):
    outputs = 3 if weight is None else weight.shape[1]
    bias = normal(2, outputs) if shift else None
    expected = affine_by_definition(weight, bias)
    affine, factor = Affine(X, weight, bias), normal(2, 1)
    np.testing.assert_allclose(affine.value(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        affine.times(factor).value(),
        factor[..., None, None, None] * expected,
        rtol=1e-5,
        atol=1e-6,
    )


def test_running_statistics_fold_into_the_convolution_before_them():
    params = {
        "pointwise": normal(2, 4, 3),
        "norm": {"scale": normal(2, 4), "bias": normal(2, 4)},
    }
    stats = {"norm": {"mean": normal(2, 4), "var": jnp.abs(normal(2, 4))}}
    folded, new_stats = layers.conv_norm(params, stats, X, train=False)
    assert new_stats is stats
    y = lowering.pointwise(X, params["pointwise"])
    expected, _ = layers.batch_norm(params["norm"], stats["norm"], y, train=False)
    np.testing.assert_allclose(folded.value(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("stride, dilation", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_more_padding_than_needed_changes_nothing(shared, stride, dilation):
    x, kernel = normal(1 if shared else 2, 3, 8, 8, 2), normal(2, 3, 3, 3)

    def run(x, kernel, padded):
        return lowering.depthwise(
            x, kernel, stride=stride, dilation=dilation, padded=padded
        )

    def gradient(wide):
        def total(x, kernel):
            padded = lowering.pad_sides(x, 4) if wide else None
            return jnp.sum(jnp.sin(run(x, kernel, padded)))

        return jax.grad(total, argnums=(0, 1))(x, kernel)

    np.testing.assert_array_equal(
        run(x, kernel, lowering.pad_sides(x, 4)), run(x, kernel, None)
    )
    for wide, narrow in zip(gradient(True), gradient(False), strict=True):
        np.testing.assert_array_equal(wide, narrow)
