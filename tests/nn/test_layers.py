"""Hand-written gradients against autodiff; what is folded against what is computed."""

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
    axes, of_mean, of_var = (-3, -2, -1), normal(2, 3), normal(2, 3)

    def total(moments):
        mean, var = moments
        return jnp.sum(of_mean * mean) + jnp.sum(of_var * var)

    ours = jax.grad(lambda x: total(layers.moments(x)))(X)
    theirs = jax.grad(lambda x: total((x.mean(axes), x.var(axes))))(X)
    np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_the_gradient_of_rectify_equals_that_of_relu():
    x = X.at[0, 0].set(0.0).at[0, 1, 0, 0, 0].set(jnp.nan)
    weight = normal(*x.shape)
    for function in (
        lambda f: f(x),
        lambda f: jax.grad(lambda x: (weight * f(x)).sum())(x),
    ):
        ours, theirs = function(layers.rectify), function(jax.nn.relu)
        np.testing.assert_array_equal(ours, theirs)
    assert jnp.isnan(layers.rectify(x)[0, 1, 0, 0, 0])


@pytest.mark.parametrize("weight", [None, normal(2, 3), normal(2, 4, 3)])
@pytest.mark.parametrize("shift", [False, True])
def test_an_affine_is_what_it_says(weight, shift):
    outputs = 3 if weight is None else weight.shape[1]
    bias = normal(2, outputs) if shift else None
    by_hand = (
        X
        if weight is None
        else (
            jnp.einsum("eoc,echwn->eohwn", weight, X)
            if weight.ndim == 3
            else weight[..., None, None, None] * X
        )
    )
    if shift:
        by_hand = by_hand + bias[..., None, None, None]
    affine = Affine(X, weight, bias)
    np.testing.assert_allclose(affine.value(), by_hand, rtol=1e-5, atol=1e-6)
    factor = normal(2, 1)
    np.testing.assert_allclose(
        affine.times(factor).value(),
        factor[..., None, None, None] * by_hand,
        rtol=1e-5,
        atol=1e-6,
    )


def test_running_statistics_fold_into_the_convolution_before_them():
    params = {
        "pointwise": normal(2, 4, 3),
        "norm": {"scale": normal(2, 4), "bias": normal(2, 4)},
    }
    stats = {"norm": {"mean": normal(2, 4), "var": jnp.abs(normal(2, 4))}}
    folded, same = layers.conv_norm(params, stats, X, train=False)
    assert same is stats
    apart = lowering.pointwise(X, params["pointwise"])
    apart, _ = layers.batch_norm(params["norm"], stats["norm"], apart, train=False)
    np.testing.assert_allclose(folded.value(), apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("stride, dilation", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_more_padding_than_needed_changes_nothing(shared, stride, dilation):
    x, kernel = normal(1 if shared else 2, 3, 8, 8, 2), normal(2, 3, 3, 3)

    def run(x, kernel, padded):
        return lowering.depthwise(x, kernel, stride, dilation, padded)

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
