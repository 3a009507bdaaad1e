"""Primitives as a user would write them, for the tests."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from egnas_jax.nn.primitive import Primitive
from egnas_jax.nn.primitive_linen import primitive_from_linen

LAYOUT = ("NHWC", "HWIO", "NHWC")


def init_conv_norm(key, channels, stride):
    del stride
    shape, ones = (3, 3, channels, channels), jnp.ones(channels)
    params = {"conv": 0.1 * jax.random.normal(key, shape)}
    params |= {"scale": ones, "bias": 0.0 * ones}
    return params, {"mean": 0.0 * ones, "var": ones}


def conv_norm(params, batch_stats, x, stride, train):
    """ReLU, 3x3 convolution and batch norm, as `nor_conv_3x3` of NAS-Bench-201."""
    y = lax.conv_general_dilated(
        jnp.maximum(x, 0).astype(jnp.float32),
        params["conv"],
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=LAYOUT,
    )
    mean, var = batch_stats["mean"], batch_stats["var"]
    if train:
        mean, var = jnp.mean(y, (0, 1, 2)), jnp.var(y, (0, 1, 2))
        count = y[..., 0].size
        new = {"mean": mean, "var": var * count / (count - 1)}
        batch_stats = jax.tree.map(
            lambda old, now: 0.9 * old + 0.1 * lax.stop_gradient(now), batch_stats, new
        )
    factor = params["scale"] * lax.rsqrt(var + 1e-5)
    per_channel = (1, 1, 1, -1)
    y = (y - mean.reshape(per_channel)) * factor.reshape(per_channel)
    y = y + params["bias"].reshape(per_channel)
    return y.astype(x.dtype), batch_stats


class SqueezeExcite(nn.Module):
    """A 3x3 convolution and norm whose channels are weighed by their means."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x, train):
        strides = self.stride, self.stride
        y = nn.Conv(self.channels, (3, 3), strides, padding=1, use_bias=False)(x)
        y = nn.BatchNorm(use_running_average=not train, momentum=0.9)(y)
        hidden = nn.relu(nn.Dense(self.channels // 4)(jnp.mean(y, axis=(1, 2))))
        gate = nn.sigmoid(nn.Dense(self.channels)(hidden))
        return y * gate[:, None, None]


CONV_NORM = Primitive("own_conv_3x3", init_conv_norm, conv_norm, "conv")
SQUEEZE_EXCITE = primitive_from_linen("squeeze_excite", SqueezeExcite)
