"""Batch norm and the two preprocessing layers, over arrays [E, C, H, W, N].

A layer is a pair of functions: `init_x` describes its leaves (drawn all at once by
`nn.init`), `x` applies it. Parameters and statistics are dictionaries with the same
names; E stacks the edges that leave one state (1 for a layer that stands alone).

Source: operations.py of the DARTS family; batch norm as torch's (eps 1e-5, momentum
0.1, running variance unbiased).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.init import constant, kernel
from egnas_jax.nn.precision import wide
from egnas_jax.nn.sync_batch_norm import joint_moments, joint_sums, num_shares
from egnas_jax.types import Array, PyTree

EPSILON = 1e-5
MOMENTUM = 0.9  # of the old running value; torch counts the new one: 0.1


def init_batch_norm(edges: int, channels: int, affine: bool) -> tuple[PyTree, PyTree]:
    """Leaves of a batch norm: parameters (none unless affine) and statistics."""
    shape = (edges, channels)
    params = {"scale": constant(shape, 1.0), "bias": constant(shape, 0.0)}
    stats = {"mean": constant(shape, 0.0), "var": constant(shape, 1.0)}
    return (params if affine else {}), stats


class Affine(NamedTuple):
    """weight x + shift, not computed yet: what reads it does so while it adds it up.

    Attributes:
      x: [E or 1, C, H, W, N].
      weight: [E or 1, O] for every channel its own factor (then O = C), [E, O, C] for a
        1x1 convolution, or None for 1.
      shift: [E or 1, O], or None for 0.
    """

    x: Array
    weight: Array | None = None
    shift: Array | None = None

    def times(self, factor: Array) -> "Affine":
        """Every output times a factor [E, 1] of its edge; no array is touched."""
        if self.weight is None:
            weight = jnp.broadcast_to(factor, (len(factor), self.x.shape[1]))
        else:
            weight = self.weight * (
                factor[..., None] if self.weight.ndim == 3 else factor
            )
        return Affine(
            self.x, weight, None if self.shift is None else factor * self.shift
        )

    def value(self) -> Array:
        """[E or 1, O, H, W, N], of the dtype of `x`."""
        return self.wide().astype(self.x.dtype)

    def wide(self) -> Array:
        """The same in the dtype of sums, for what adds it up: not rounded yet."""
        y = self.x
        if self.weight is None:
            y = wide(y)
        elif self.weight.ndim == 3:
            y = wide(lowering.pointwise(y, self.weight))
        else:
            y = wide(lowering.for_edges(y, len(self.weight)))
            y = lowering.pixelwise(self.weight) * y
        return y if self.shift is None else y + lowering.pixelwise(self.shift)


def batch_norm(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Array, PyTree]:
    """Normalises each channel of each edge over pixels and images.

    Args, returns: as `norm_of`, but the normalised array, a buffer of its own.
    """
    normed, stats = norm_of(params, stats, x, train)
    return lowering.materialise(normed.value()), stats


def conv_norm(params, stats, x: Array, train: bool) -> tuple[Affine, PyTree]:
    """1x1 convolution and batch norm, {"pointwise", "norm"}.

    Running statistics do not depend on the convolution's output, so that the two are
    one convolution with other weights.
    """
    if train:
        y = lowering.pointwise(x, params["pointwise"])
        normed, norm = norm_of(params["norm"], stats["norm"], y, train)
        return normed, {"norm": norm}
    return Affine(x, *folded_norm(params, stats)), stats


def folded_norm(params, stats) -> tuple[Array, Array]:
    """Weight [E, O, C] and shift [E, O] of a 1x1 convolution and the norm behind it,
    {"pointwise", "norm"}, under running statistics."""
    scale, shift = _scale_and_shift(params["norm"], stats["norm"])
    return scale[..., None] * params["pointwise"], shift


def norm_of(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Affine, PyTree]:
    """Batch norm of each channel of each edge, over pixels and images.

    Args:
      params: {"scale", "bias"}, each [E, C], or {} for a norm without them.
      stats: running {"mean", "var"}, each [E, C].
      x: [E, C, H, W, N].
      train: whether the batch's own statistics are used and the running ones moved.

    Returns:
      `x` with its factor and shift, and the running statistics after this batch.
    """
    used = stats
    if train:
        mean, var = moments(x)
        count = _count(x)
        unbiased = var * (count / max(count - 1, 1))
        used = {"mean": mean, "var": var}
        stats = jax.tree.map(_moved, stats, {"mean": mean, "var": unbiased})
    scale, shift = _scale_and_shift(params, used)
    return Affine(x, scale, shift), stats


@jax.custom_vjp
def moments(x: Array) -> tuple[Array, Array]:
    """Mean and (biased) variance of [..., H, W, N] over its last three axes, and over
    the devices that share the batch.

    Its gradient keeps `x` alone; autodiff would keep the centred array as well.
    """
    x = wide(x)
    mean = jnp.mean(x, axis=(-3, -2, -1))
    var = jnp.mean((x - lowering.pixelwise(mean)) ** 2, axis=(-3, -2, -1))
    return joint_moments(mean, var)


def _count(x: Array) -> int:
    """Values of a channel, on all devices that share the batch."""
    return x.shape[-3] * x.shape[-2] * x.shape[-1] * num_shares()


def _moments_forward(x):
    mean, var = moments(x)
    return (mean, var), (x, mean)


def _moments_backward(residuals, cotangents):
    (x, mean), (of_mean, of_var) = residuals, joint_sums(*cotangents)
    count = _count(x)
    # the mean's own part in the variance vanishes
    slope = lowering.pixelwise(2.0 * of_var / count)
    centred = wide(x) - lowering.pixelwise(mean)
    gradient = slope * centred + lowering.pixelwise(of_mean / count)
    return (gradient.astype(x.dtype),)


moments.defvjp(_moments_forward, _moments_backward)


def _scale_and_shift(params: PyTree, stats: PyTree) -> tuple[Array, Array]:
    scale = lax.rsqrt(stats["var"] + EPSILON) * params.get("scale", 1.0)
    return scale, params.get("bias", 0.0) - stats["mean"] * scale


def _moved(running: Array, new: Array) -> Array:
    return MOMENTUM * running + (1.0 - MOMENTUM) * lax.stop_gradient(new)


@jax.custom_vjp
def rectify(x: Array) -> Array:
    """max(x, 0), whose gradient at 0 is 0.

    The gradient keeps the result alone, which the next kernel keeps anyway; that of
    `jax.nn.relu` keeps a mask and an array of zeros too.
    """
    return jnp.maximum(x, 0.0)


def _rectify_forward(x):
    out = rectify(x)
    return out, out


def _rectify_backward(out, cotangent):
    return (jnp.where(out > 0.0, cotangent, 0.0),)


rectify.defvjp(_rectify_forward, _rectify_backward)


def relu(x: Array) -> Array:
    """Rectified x, as a buffer of its own: several kernels read it."""
    return lowering.materialise(rectify(x))


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
        pixels = lowering.for_edges(lowering.materialise(pixels), weight.shape[0])
        parts.append(lowering.pointwise(pixels, rows))
    y, norm = batch_norm(
        params["norm"], stats["norm"], jnp.concatenate(parts, axis=1), train
    )
    return y, {"norm": norm}
