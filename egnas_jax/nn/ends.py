"""What stands before and after the cells of a search network: stem and classifier.

Dims: N images, H, W sides, C channels.
"""

import jax.numpy as jnp

from egnas_jax.nn import lowering
from egnas_jax.nn.init import kernel
from egnas_jax.nn.layers import batch_norm, init_batch_norm
from egnas_jax.nn.precision import wide
from egnas_jax.types import Array, PyTree


def init_stem(image_channels: int, channels: int) -> tuple[PyTree, PyTree]:
    """Leaves of a 3x3 convolution and its norm: parameters and statistics."""
    norm, stats = init_batch_norm(1, channels, affine=True)
    conv = kernel((channels, image_channels, 3, 3), 9 * image_channels)
    return {"conv": conv, "norm": norm}, stats


def stem(params, stats, images: Array, dtype, train: bool) -> tuple[Array, PyTree]:
    """Images [N, H, W, C] as a first state [C', H, W, N], and the new statistics."""
    images = images.astype(dtype)  # and so all activations
    x = jnp.transpose(images, (3, 1, 2, 0))  # images innermost: see nn.lowering
    x = lowering.convolve(x, params["conv"], (1, 1), (1, 1))
    x, stats = batch_norm(params["norm"], stats, x[None], train)
    return x[0], stats


def init_classifier(features: int, num_classes: int) -> PyTree:
    """Leaves of the last layer."""
    return {
        "kernel": kernel((num_classes, features), features),
        "bias": kernel((num_classes,), features),
    }


def classify(params, state: Array) -> Array:
    """Logits f32[N, classes] from the mean over the pixels of a state [C, H, W, N]."""
    features = jnp.mean(wide(state), axis=(1, 2))  # [C, N]
    return features.T @ params["kernel"].T + params["bias"][None]
