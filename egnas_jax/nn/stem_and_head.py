"""Builds what surrounds the cells of a network: stems, classifier, auxiliary head.

Source: `Network` of model_search.py; `NetworkCIFAR`, `NetworkImageNet` and the
auxiliary heads of model.py, all of the DARTS family.

Dims: N images, H, W sides, C channels, F features.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.init import uniform
from egnas_jax.nn.layers import batch_norm, exposed_kernel, init_batch_norm, rectify
from egnas_jax.nn.network_config import HEAD_FEATURES, HEAD_HIDDEN, Frame
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array, PyTree


def images_innermost(images: Array) -> Array:
    """[N, H, W, C] as [C, H, W, N], the layout of `nn.lowering`."""
    return jnp.transpose(images, (3, 1, 2, 0))


def init_stem_layer(fan_in: int, fan_out: int) -> tuple[PyTree, PyTree]:
    """Leaves of `stem_layer`: parameters {"conv", "norm"}, batch_stats of the norm."""
    norm, stats = init_batch_norm(1, fan_out, affine=True)
    return {"conv": uniform((fan_out, fan_in, 3, 3), 9 * fan_in), "norm": norm}, stats


def stem_layer(
    params: PyTree, stats: PyTree, x: Array, train: bool, stride: int = 1
) -> tuple[Array, PyTree]:
    """3x3 convolution and norm; it is the whole stem of a supernet.

    Args:
      params, stats: arrays that `init_stem_layer` describes.
      x: images or a state, [C, H, W, N].
      train: whether the norm uses the batch's statistics and updates the running ones.
      stride: stride of H and W.

    Returns:
      [C', H', W', N] and the new batch_stats of the norm.
    """
    weight = exposed_kernel(params["conv"][None], x, stride)[0]
    x = lowering.convolve(x, weight, (stride, stride), (1, 1))
    x = intermediates.expose_one(intermediates.OUTPUT, x)
    x, new_stats = batch_norm(params["norm"], stats, x[None], train)
    return x[0], new_stats


def init_stem(
    frame: Frame, channels: int, image_channels: int
) -> tuple[list[PyTree], list[PyTree]]:
    """Leaves of the stem of a derived network: lists over its layers."""
    params, stats, fan_in = [], [], image_channels
    for fan_out in frame.stem_channels(channels):
        layer, layer_stats = init_stem_layer(fan_in, fan_out)
        params.append(layer)
        stats.append({"norm": layer_stats})
        fan_in = fan_out
    return params, stats


def stem(
    frame: Frame, params: list[PyTree], stats: list[PyTree], x: Array, train: bool
) -> tuple[list[Array], list[PyTree]]:
    """Computes the two states before the first cell, and the new batch_stats.

    Args:
      frame: the frame of the network.
      params, stats: arrays that `init_stem` describes.
      x: images, [C, H, W, N].
      train: see `stem_layer`.
    """
    states, new_stats = [], []
    for position, (_, stride) in enumerate(frame.stem):
        x = intermediates.expose_one(intermediates.RELU, rectify(x)) if position else x
        layer_stats = stats[position]["norm"]
        x, norm = stem_layer(params[position], layer_stats, x, train, stride)
        states.append(x)
        new_stats.append({"norm": norm})
    return (states[-2:] if len(states) > 1 else 2 * states), new_stats


def init_linear(features: int, num_classes: int) -> PyTree:
    """Leaves of a linear layer with a bias."""
    weight = uniform((num_classes, features), features)
    return {"kernel": weight, "bias": uniform((num_classes,), features)}


def linear(params: PyTree, features: Array) -> Array:
    """Linear layer: features [F, N] -> logits f32[N, classes]."""
    kernel = intermediates.expose_one(intermediates.KERNEL, params["kernel"])
    logits = wide(features).T @ kernel.T + params["bias"][None]
    if not intermediates.is_read():
        return logits
    outputs = logits.T[:, None, None]
    return intermediates.expose_one(intermediates.OUTPUT, outputs)[:, 0, 0].T


def classify(params: PyTree, state: Array) -> Array:
    """Logits f32[N, classes] from the mean over the pixels of a state [C, H, W, N]."""
    state = intermediates.expose_one(intermediates.FEATURES, state)
    return linear(params, jnp.mean(wide(state), axis=(1, 2)))


def init_auxiliary(
    frame: Frame, channels: int, num_classes: int
) -> tuple[PyTree, PyTree]:
    """Leaves of the auxiliary head, which reads a state of `channels` channels."""
    first, first_stats = init_batch_norm(1, HEAD_HIDDEN, affine=True)
    second, second_stats = init_batch_norm(1, HEAD_FEATURES, affine=True)
    if not frame.second_norm:
        second, second_stats = {}, {}
    params = {
        "pointwise": uniform((1, HEAD_HIDDEN, channels), channels),
        "first_norm": first,
        "conv": uniform((HEAD_FEATURES, HEAD_HIDDEN, 2, 2), 4 * HEAD_HIDDEN),
        "second_norm": second,
        "classifier": init_linear(HEAD_FEATURES, num_classes),
    }
    return params, {"first_norm": first_stats, "second_norm": second_stats}


def auxiliary(
    frame: Frame, params: PyTree, stats: PyTree, state: Array, train: bool
) -> tuple[Array, PyTree]:
    """Computes the logits of the auxiliary head, and its new batch_stats.

    Args:
      frame: the frame of the network.
      params, stats: arrays that `init_auxiliary` describes.
      state: [C, H, W, N] with sides in `frame.head_sides`.
      train: whether norms use the batch's statistics and update the running ones.

    Returns:
      Logits f32[N, classes] and the new batch_stats.
    """
    x = _average_5x5(rectify(state), frame.pool_stride)
    x = lowering.pointwise(x[None], params["pointwise"])
    x, first = batch_norm(params["first_norm"], stats["first_norm"], x, train)
    x = lowering.convolve(rectify(x[0]), params["conv"], (1, 1), (0, 0))
    second = {}
    if frame.second_norm:
        x, second = batch_norm(
            params["second_norm"], stats["second_norm"], x[None], train
        )
        x = x[0]
    logits = linear(params["classifier"], rectify(x[:, 0, 0]))
    return logits, {"first_norm": first, "second_norm": second}


def _average_5x5(x: Array, stride: int) -> Array:
    """5x5 average pooling of [C, H, W, N] without padding."""
    window, strides = (1, 5, 5, 1), (1, stride, stride, 1)
    zero = np.float32(0)  # autodiff recognises a constant
    total = lax.reduce_window(wide(x), zero, lax.add, window, strides, "VALID")
    return (total / 25).astype(x.dtype)
