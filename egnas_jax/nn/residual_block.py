"""Computes the block between two stages: it halves the image and doubles the channels.

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020), `ResNetBasicblock` of its code.

Dims: N images, H, W sides, C channels.
"""

import jax.numpy as jnp

from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.init import uniform
from egnas_jax.nn.layers import batch_norm, exposed_kernel, init_batch_norm, relu
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array, PyTree


def init_residual_block(fan_in: int, fan_out: int) -> tuple[PyTree, PyTree]:
    """Leaves of a residual block: parameters and batch_stats.

    Args:
      fan_in, fan_out: channels of its input and of its output.
    """
    first, first_stats = init_batch_norm(1, fan_out, affine=True)
    second, second_stats = init_batch_norm(1, fan_out, affine=True)
    params = {
        "first": uniform((fan_out, fan_in, 3, 3), 9 * fan_in),
        "first_norm": first,
        "second": uniform((fan_out, fan_out, 3, 3), 9 * fan_out),
        "second_norm": second,
        "shortcut": uniform((fan_out, fan_in, 1, 1), fan_in),
    }
    return params, {"first_norm": first_stats, "second_norm": second_stats}


def residual_block(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Array, PyTree]:
    """Computes a residual block.

    The main branch is twice ReLU, 3x3 convolution and norm, the first of stride 2. The
    shortcut is a 2x2 average pooling and a 1x1 convolution.

    Args:
      params, stats: arrays that `init_residual_block` describes.
      x: [C, H, W, N].
      train: whether norms use the batch's statistics and update the running ones.

    Returns:
      [C', H / 2, W / 2, N] and the new batch_stats.
    """
    y, new_stats = x, {}
    for name, stride in (("first", 2), ("second", 1)):
        weight = exposed_kernel(params[name][None], y, stride)[0]
        y = intermediates.expose_one(intermediates.RELU, relu(y))
        y = lowering.convolve(y, weight, (stride, stride), (1, 1))
        y = intermediates.expose_one(intermediates.OUTPUT, y)
        norm = f"{name}_norm"
        y, new_stats[norm] = batch_norm(params[norm], stats[norm], y[None], train)
        y = y[0]
    channels, height, width, images = x.shape
    quads = wide(x).reshape(channels, height // 2, 2, width // 2, 2, images)
    mean = jnp.mean(quads, axis=(2, 4)).astype(x.dtype)
    weight = exposed_kernel(params["shortcut"][None], mean)[0]
    shortcut = lowering.convolve(mean, weight, (1, 1), (0, 0))
    return y + intermediates.expose_one(intermediates.OUTPUT, shortcut), new_stats
