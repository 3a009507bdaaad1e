"""What stands around the cells of a derived network: stems and classifiers.

Source: `NetworkCIFAR`, `NetworkImageNet` and the auxiliary heads of model.py of the
DARTS family.

Dims: N images, H, W sides, C channels.
"""

from typing import NamedTuple

import numpy as np
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.init import kernel
from egnas_jax.nn.layers import batch_norm, init_batch_norm, rectify
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array, PyTree


class Frame(NamedTuple):
    """How a stem and an auxiliary head are built.

    Attributes:
      stem: of each convolution of the stem, its channels as a multiple of the first
        cell's C, and its stride; a ReLU stands between two of them.
      pool_stride: of the head's pooling over 5x5 pixels.
      second_norm: whether the head's second convolution is followed by a norm.
    """

    stem: tuple[tuple[float, int], ...]
    pool_stride: int
    second_norm: bool

    @property
    def head_sides(self) -> tuple[int, ...]:
        """Sides of a state that the head can read: its pooling must leave 2x2."""
        return tuple(5 + self.pool_stride + i for i in range(self.pool_stride))


# The missing norm is that of the reference, which kept to it after a first training.
FRAMES = {
    "cifar": Frame(((3, 1),), 3, True),
    "imagenet": Frame(((0.5, 2), (1, 2), (1, 2)), 2, False),
}


def init_stem(frame: Frame, channels: int, image_channels: int):
    """Leaves of the stem: lists over its convolutions."""
    params, stats, fan_in = [], [], image_channels
    for multiple, _ in frame.stem:
        fan_out = round(multiple * channels)
        norm, moving = init_batch_norm(1, fan_out, affine=True)
        conv = kernel((fan_out, fan_in, 3, 3), 9 * fan_in)
        params.append({"conv": conv, "norm": norm})
        stats.append({"norm": moving})
        fan_in = fan_out
    return params, stats


def stem(frame: Frame, params: PyTree, stats: PyTree, x: Array, train: bool):
    """Images [C, H, W, N] -> the two states before the first cell, and statistics."""
    states, new_stats = [], []
    for position, (_, stride) in enumerate(frame.stem):
        own = params[position]
        x = lowering.convolve(
            rectify(x) if position else x, own["conv"], (stride, stride), (1, 1)
        )
        x, norm = batch_norm(own["norm"], stats[position]["norm"], x[None], train)
        x = x[0]
        states.append(x)
        new_stats.append({"norm": norm})
    return (states[-2:] if len(states) > 1 else 2 * states), new_stats


def init_classifier(features: int, num_classes: int):
    """Leaves of a linear layer with a bias."""
    weight = kernel((num_classes, features), features)
    return {"kernel": weight, "bias": kernel((num_classes,), features)}


def classifier(params: PyTree, features: Array) -> Array:
    """[C, N] -> logits [N, classes]."""
    return wide(features).T @ params["kernel"].T + params["bias"][None]


HIDDEN, FEATURES = 128, 768  # channels of the auxiliary head


def init_auxiliary(frame: Frame, channels: int, num_classes: int):
    """Leaves of the auxiliary head."""
    first, first_stats = init_batch_norm(1, HIDDEN, affine=True)
    second, second_stats = init_batch_norm(1, FEATURES, affine=True)
    if not frame.second_norm:
        second, second_stats = {}, {}
    params = {
        "pointwise": kernel((1, HIDDEN, channels), channels),
        "first_norm": first,
        "conv": kernel((FEATURES, HIDDEN, 2, 2), 4 * HIDDEN),
        "second_norm": second,
        "classifier": init_classifier(FEATURES, num_classes),
    }
    return params, {"first_norm": first_stats, "second_norm": second_stats}


def auxiliary(frame: Frame, params: PyTree, stats: PyTree, state: Array, train: bool):
    """A state [C, H, W, N] whose side is in `head_sides` -> logits and statistics."""
    stride = frame.pool_stride
    x = (
        lax.reduce_window(
            wide(rectify(state)),
            np.float32(0),
            lax.add,
            (1, 5, 5, 1),
            (1, stride, stride, 1),
            "VALID",
        )
        / 25
    )
    x = x.astype(state.dtype)
    x = lowering.pointwise(x[None], params["pointwise"])
    x, first = batch_norm(params["first_norm"], stats["first_norm"], x, train)
    x = lowering.convolve(rectify(x[0]), params["conv"], (1, 1), (0, 0))
    second = {}
    if frame.second_norm:
        x, second = batch_norm(
            params["second_norm"], stats["second_norm"], x[None], train
        )
        x = x[0]
    logits = classifier(params["classifier"], rectify(x[:, 0, 0]))
    return logits, {"first_norm": first, "second_norm": second}
