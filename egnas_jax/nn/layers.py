"""Batch norm and the two preprocessing layers, over arrays [E, C, H, W, N].

A layer is a pair of functions: `init_x` describes its leaves (drawn all at once by
`nn.init`), `x` applies it. Parameters and statistics are dictionaries with the same
names; E stacks the edges that leave one state (1 for a layer that stands alone).

Source: operations.py of the DARTS family; batch norm as torch's (eps 1e-5, momentum
0.1, running variance unbiased).
"""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.init import constant, kernel
from egnas_jax.types import Array, PyTree

EPSILON = 1e-5
MOMENTUM = 0.9  # of the old running value; torch counts the new one: 0.1


def init_batch_norm(edges: int, channels: int, affine: bool) -> tuple[PyTree, PyTree]:
    """Leaves of a batch norm: parameters (none unless affine) and statistics."""
    shape = (edges, channels)
    params = {"scale": constant(shape, 1.0), "bias": constant(shape, 0.0)}
    stats = {"mean": constant(shape, 0.0), "var": constant(shape, 1.0)}
    return (params if affine else {}), stats


def batch_norm(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Array, PyTree]:
    """Normalises each channel of each edge over pixels and images.

    Args:
      params: {"scale", "bias"}, each [E, C], or {} for a norm without them.
      stats: running {"mean", "var"}, each [E, C].
      x: [E, C, H, W, N].
      train: whether the batch's own statistics are used and the running ones moved.

    Returns:
      The normalised array and the running statistics after this batch.
    """
    mean, var = stats["mean"], stats["var"]
    if train:
        mean = jnp.mean(x, axis=(-3, -2, -1))
        centred = x - mean[..., None, None, None]
        var = jnp.mean(centred**2, axis=(-3, -2, -1))
        count = x.shape[-3] * x.shape[-2] * x.shape[-1]
        unbiased = var * (count / max(count - 1, 1))
        stats = jax.tree.map(_moved, stats, {"mean": mean, "var": unbiased})
    scale = lax.rsqrt(var + EPSILON) * params.get("scale", 1.0)
    shift = params["bias"][..., None, None, None] if params else 0.0
    out = (x - mean[..., None, None, None]) * scale[..., None, None, None] + shift
    return lowering.materialise(out), stats


def _moved(running: Array, new: Array) -> Array:
    return MOMENTUM * running + (1.0 - MOMENTUM) * lax.stop_gradient(new)


def relu(x: Array) -> Array:
    """Rectified x, as a buffer of its own: several kernels read it."""
    return lowering.materialise(jax.nn.relu(x))


def init_conv_norm(edges: int, fan_in: int, fan_out: int, affine: bool):
    """Leaves of `relu_conv_norm` and of `factorized_reduce`."""
    norm, stats = init_batch_norm(edges, fan_out, affine)
    weight = kernel((edges, fan_out, fan_in), fan_in)
    return {"pointwise": weight, "norm": norm}, {"norm": stats}


def relu_conv_norm(params, stats, x, train):
    """ReLU, 1x1 convolution, batch norm: [1, C, H, W, N] -> [1, O, H, W, N]."""
    y = lowering.pointwise(relu(x), params["pointwise"])
    y, norm = batch_norm(params["norm"], stats["norm"], y, train)
    return y, {"norm": norm}


def factorized_reduce(params, stats, rectified, train):
    """Halves H and W: two 1x1 convolutions of stride 2, one a pixel further on.

    Args:
      params, stats: of `init_conv_norm`; the first half of the output channels reads
        the even pixels, the second half the odd ones.
      rectified: the state after its ReLU, [E or 1, C, H, W, N], H and W even.
      train: as in `batch_norm`.
    """
    weight = params["pointwise"]
    half = weight.shape[1] // 2
    parts = []
    for offset, rows in ((0, weight[:, :half]), (1, weight[:, half:])):
        pixels = rectified[..., offset::2, offset::2, :]
        pixels = jnp.broadcast_to(pixels, (weight.shape[0], *pixels.shape[1:]))
        parts.append(lowering.pointwise(lowering.materialise(pixels), rows))
    y, norm = batch_norm(
        params["norm"], stats["norm"], jnp.concatenate(parts, axis=1), train
    )
    return y, {"norm": norm}
