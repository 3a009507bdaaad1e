"""Defines batch norm, ReLU and the two preprocessing layers on arrays [E, C, H, W, N].

A layer is a pair of functions: `init_x` describes its leaves (`nn.init` draws them all
at once), and `x` applies it. The trees of parameters and of batch_stats have the same
names. E stacks the edges that leave one state; it is 1 for a layer that serves no edge.

Source: operations.py of the DARTS family; batch norm as in torch (eps 1e-5, momentum
0.1, unbiased running variance).

Dims: E edges, C input channels, O output channels, H, W sides, N images.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.init import constant, uniform
from egnas_jax.nn.precision import wide
from egnas_jax.nn.sync_batch_norm import all_reduce_moments, all_reduce_sums, num_shares
from egnas_jax.types import Array, PyTree

EPSILON = 1e-5
MOMENTUM = 0.9  # weight of the old running value; torch's 0.1 weighs the new value


def init_batch_norm(edges: int, channels: int, affine: bool) -> tuple[PyTree, PyTree]:
    """Leaves of a batch norm: parameters (empty unless `affine`) and batch_stats."""
    shape = (edges, channels)
    params = {"scale": constant(shape, 1.0), "bias": constant(shape, 0.0)}
    stats = {"mean": constant(shape, 0.0), "var": constant(shape, 1.0)}
    return (params if affine else {}), stats


class Affine(NamedTuple):
    """weight x + shift, computed only where it is consumed.

    Attributes:
      x: [E or 1, C, H, W, N].
      weight: [E or 1, C], a factor per channel; or [E, O, C], a 1x1 convolution; or
        None for 1.
      shift: [E or 1, C or O], or None for 0.
    """

    x: Array
    weight: Array | None = None
    shift: Array | None = None

    def times(self, factor: Array) -> "Affine":
        """The output of each edge times its factor, [E, 1]; no pixels are touched."""
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
        """[E or 1, C or O, H, W, N] in the dtype of `x`."""
        return self.wide().astype(self.x.dtype)

    def wide(self) -> Array:
        """The value in the dtype of sums, not rounded yet."""
        y = self.x
        if self.weight is None:
            y = wide(y)
        elif self.weight.ndim == 3:
            y = wide(lowering.pointwise(y, self.weight))
        else:
            y = wide(lowering.broadcast_edges(y, len(self.weight)))
            y = lowering.pixelwise(self.weight) * y
        return y if self.shift is None else y + lowering.pixelwise(self.shift)


def batch_norm(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Array, PyTree]:
    """Batch norm as a stored array.

    Args:
      params, stats, x, train: see `lazy_batch_norm`.

    Returns:
      [E, C, H, W, N] and the new running batch_stats.
    """
    normed, new_stats = lazy_batch_norm(params, stats, x, train)
    return lowering.materialise(normed.value()), new_stats


def lazy_batch_norm(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Affine, PyTree]:
    """Batch norm of each channel of each edge, over pixels and images.

    Args:
      params: {"scale", "bias"}, each [E, C], or {} for a norm without them.
      stats: running {"mean", "var"}, each [E, C].
      x: [E, C, H, W, N].
      train: whether to normalise by the batch's own statistics and to update the
        running ones.

    Returns:
      `x` with its factor and shift, and the new running batch_stats.
    """
    if not train:
        return Affine(x, *scale_and_shift(params, stats)), stats
    scale, shift, new_stats = batch_scale_and_shift(
        params, stats, moments(x), _count(x)
    )
    return Affine(x, scale, shift), new_stats


def conv_norm(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Affine, PyTree]:
    """1x1 convolution and batch norm, {"pointwise", "norm"}.

    Running statistics do not depend on the output of the convolution. In evaluation
    both are therefore one convolution with other weights.
    """
    params = params | {"pointwise": exposed_kernel(params["pointwise"], x)}
    if train:
        y = intermediates.expose(
            intermediates.OUTPUT, lowering.pointwise(x, params["pointwise"])
        )
        normed, norm = lazy_batch_norm(params["norm"], stats["norm"], y, train)
        return normed, {"norm": norm}
    return Affine(x, *fold_norm(params, stats)), stats


def exposed_kernel(kernel: Array, x: Array, stride: int = 1) -> Array:
    """Exposes a kernel [E, ...] to `nn.intermediates`, which zero-cost proxies read.

    Args:
      kernel: of a convolution that keeps the sides, except for its stride.
      x: what it reads, [..., H, W, N].
      stride: of both sides.
    """
    pixels = -(-x.shape[-3] // stride) * -(-x.shape[-2] // stride)
    return intermediates.expose(intermediates.KERNEL, kernel, pixels=pixels)


def fold_norm(params: PyTree, stats: PyTree) -> tuple[Array, Array]:
    """Folds a norm with running statistics into the 1x1 convolution before it.

    Args:
      params, stats: arguments of `conv_norm`.

    Returns:
      The weight [E, O, C] and the shift [E, O] of the folded convolution.
    """
    scale, shift = scale_and_shift(params["norm"], stats["norm"])
    return scale[..., None] * params["pointwise"], shift


def moments(x: Array, rules: lowering.Rules | None = None) -> tuple[Array, Array]:
    """Mean and biased variance of [..., H, W, N] over its last three axes.

    They are the moments of the whole batch where devices share it. The gradient keeps
    `x` alone; autodiff would keep the centred array as well.

    Args:
      x: [..., H, W, N].
      rules: rules of a backend, or None for those of the default backend.
    """
    rules = rules or lowering.rules_for()
    return lowering.differentiable(_moments, _all_moments)(x, rules)


def _all_moments(x, rules):
    one_device = _shifted_moments if rules.one_pass_moments else _centred_moments
    return all_reduce_moments(*one_device(wide(x)))


_moments = jax.custom_vjp(_all_moments, nondiff_argnums=(1,))


def _centred_moments(x):
    """Moments in two passes; the second one reads the mean of the first."""
    mean = jnp.mean(x, axis=(-3, -2, -1))
    var = jnp.mean((x - lowering.pixelwise(mean)) ** 2, axis=(-3, -2, -1))
    return mean, var


def _shifted_moments(x):
    """Moments in one pass, about a value of each channel.

    Without the shift the difference of the two sums would cancel where the mean is
    large against the deviation. About any value of the channel the relative error of
    the variance is a few roundings times 1 + d^2, where d is the distance of that value
    from the mean in standard deviations.

    Source: Chan, Golub and LeVeque, Algorithms for computing the sample variance, The
    American Statistician 37 (1983), shifted data algorithm. The value is the middle
    pixel of the first image, which no padding has touched.
    """
    shift = x[..., x.shape[-3] // 2, x.shape[-2] // 2, 0]
    centred = x - lowering.pixelwise(shift)
    sums = lowering.sum_pixels(centred, centred**2)
    mean, square = (total / math.prod(x.shape[-3:]) for total in sums)
    return shift + mean, jnp.maximum(square - mean**2, 0.0)


def _count(x: Array) -> int:
    """Number of values of one channel, on all devices that share the batch."""
    return x.shape[-3] * x.shape[-2] * x.shape[-1] * num_shares()


def _moments_forward(x, rules):
    mean, var = _moments(x, rules)
    return (mean, var), (x, mean)


def _moments_backward(rules, residuals, cotangents):
    del rules  # they affect no gradient
    (x, mean), (mean_cotangent, var_cotangent) = residuals, all_reduce_sums(*cotangents)
    count = _count(x)
    # The variance's derivative with respect to the mean vanishes.
    slope = lowering.pixelwise(2.0 * var_cotangent / count)
    centred = wide(x) - lowering.pixelwise(mean)
    gradient = slope * centred + lowering.pixelwise(mean_cotangent / count)
    return (gradient.astype(x.dtype),)


_moments.defvjp(_moments_forward, _moments_backward)


def scale_and_shift(params: PyTree, stats: PyTree) -> tuple[Array, Array]:
    """The factor and the shift, [E, C] each, of a norm with the given statistics.

    Args:
      params: see `lazy_batch_norm`.
      stats: {"mean", "var"}, each [E, C].
    """
    scale = lax.rsqrt(stats["var"] + EPSILON) * params.get("scale", 1.0)
    return scale, params.get("bias", 0.0) - stats["mean"] * scale


def batch_scale_and_shift(
    params: PyTree, stats: PyTree, batch_moments: tuple[Array, Array], count: int
) -> tuple[Array, Array, PyTree]:
    """The factor and the shift of a norm by the batch's own statistics.

    Args:
      params, stats: see `lazy_batch_norm`.
      batch_moments: mean and biased variance of the batch, [E, C] each.
      count: number of values of one channel.

    Returns:
      The factor, the shift and the new running batch_stats.
    """
    mean, var = batch_moments
    var = intermediates.expose(intermediates.VARIANCE, var)
    unbiased = var * (count / max(count - 1, 1))
    new_stats = jax.tree.map(_update, stats, {"mean": mean, "var": unbiased})
    return *scale_and_shift(params, {"mean": mean, "var": var}), new_stats


def _update(running: Array, new: Array) -> Array:
    return MOMENTUM * running + (1.0 - MOMENTUM) * lax.stop_gradient(new)


def rectify(x: Array) -> Array:
    """max(x, 0), whose gradient at 0 is 0.

    The gradient keeps the result alone, which the next kernel keeps anyway. The
    gradient of `jax.nn.relu` also keeps a mask and an array of zeros.
    """
    return lowering.differentiable(_rectify, jax.nn.relu)(x)


@jax.custom_vjp
def _rectify(x):
    return jnp.maximum(x, 0.0)


def _rectify_forward(x):
    out = rectify(x)
    return out, out


def _rectify_backward(out, cotangent):
    return (jnp.where(out > 0.0, cotangent, 0.0),)


_rectify.defvjp(_rectify_forward, _rectify_backward)


def relu(x: Array) -> Array:
    """ReLU as a stored array, for states that several kernels read."""
    return lowering.materialise(rectify(x))


def init_conv_norm(
    edges: int, fan_in: int, fan_out: int, affine: bool
) -> tuple[PyTree, PyTree]:
    """Leaves of `relu_conv_norm` and of `factorized_reduce`."""
    norm, stats = init_batch_norm(edges, fan_out, affine)
    weight = uniform((edges, fan_out, fan_in), fan_in)
    return {"pointwise": weight, "norm": norm}, {"norm": stats}


def relu_conv_norm(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Array, PyTree]:
    """ReLU, 1x1 convolution, batch norm: [1, C, H, W, N] -> [1, O, H, W, N]."""
    weight = exposed_kernel(params["pointwise"], x)
    rectified = intermediates.expose(intermediates.RELU, relu(x), edges=len(weight))
    y = intermediates.expose(
        intermediates.OUTPUT, lowering.pointwise(rectified, weight)
    )
    y, norm = batch_norm(params["norm"], stats["norm"], y, train)
    return y, {"norm": norm}


def relu_factorized_reduce(
    params: PyTree, stats: PyTree, x: Array, train: bool
) -> tuple[Array, PyTree]:
    """ReLU and `factorized_reduce`: [1, C, H, W, N] -> [1, O, H / 2, W / 2, N]."""
    return factorized_reduce(params, stats, relu(x), train)


def factorized_reduce(
    params: PyTree, stats: PyTree, rectified: Array, train: bool
) -> tuple[Array, PyTree]:
    """Halves H and W by two 1x1 convolutions of stride 2, one pixel apart.

    An odd side, which the networks refuse, is rounded up: the second convolution reads
    zeros behind the border.

    Args:
      params, stats: arrays that `init_conv_norm` describes; the first half of the
        output channels reads the even pixels, the second half the odd ones.
      rectified: the state after its ReLU, [E or 1, C, H, W, N].
      train: see `batch_norm`.

    Returns:
      [E, O, H / 2, W / 2, N] and the new running batch_stats.
    """
    weight, (height, width) = params["pointwise"], rectified.shape[-3:-1]
    half = weight.shape[1] // 2
    rectified = intermediates.expose(intermediates.RELU, rectified, edges=len(weight))
    if height % 2 or width % 2:
        odd = (0, height % 2), (0, width % 2), (0, 0)
        rectified = jnp.pad(rectified, ((0, 0), (0, 0), *odd))
    parts = []
    for offset, rows in ((0, weight[:, :half]), (1, weight[:, half:])):
        pixels = rectified[..., offset::2, offset::2, :]
        pixels = lowering.broadcast_edges(lowering.materialise(pixels), weight.shape[0])
        parts.append(lowering.pointwise(pixels, exposed_kernel(rows, pixels)))
    y = intermediates.expose(intermediates.OUTPUT, jnp.concatenate(parts, axis=1))
    y, norm = batch_norm(params["norm"], stats["norm"], y, train)
    return y, {"norm": norm}
