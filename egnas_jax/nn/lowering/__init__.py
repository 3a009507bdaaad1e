"""Computes convolutions and poolings in one of several equivalent implementations.

On a CPU XLA's grouped convolution is two orders of magnitude too slow, and on every
backend the depthwise and pooling kernels of a supernet are bound by memory traffic, not
by arithmetic. A sum over taps of shifted slices is one fused elementwise loop that
vectorises over the images. The images are therefore the innermost axis: every array of
this package has the layout [..., C, H, W, N].

`choice` selects the implementation, and `rules` states what each backend does under all
of them. `reference` is the simple implementation and the
oracle that the others are tested against.

Sums are accumulated in float32 at least, for any dtype of the activations
(nn/precision.py).

Padding is symmetric, as in torch; XLA's SAME pads stride-2 windows asymmetrically.

Dims: E edges, C channels, H, W height and width, N images, T kernel side.
"""

from egnas_jax.nn.kernels import CHOICES, LOWERINGS, Kernels
from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.nn.lowering.choice import (
    TABLE,
    avg_pool,
    depthwise,
    for_images,
    halve,
    kernels_for,
    max_pool,
)
from egnas_jax.nn.lowering.dense import (
    broadcast_edges,
    convolve,
    folded_convolution,
    pointwise,
)
from egnas_jax.nn.lowering.forward_mode import (
    differentiable,
    forward_mode,
    without_gradient,
)
from egnas_jax.nn.lowering.fused_backend import interpret_kernels
from egnas_jax.nn.lowering.matrix import apply_windows, output_shape, tap_matrices
from egnas_jax.nn.lowering.options import compiler_options
from egnas_jax.nn.lowering.rules import (
    RULES,
    Rules,
    assume_backend,
    matrix_convolutions,
    rules_for,
    target_backend,
)
from egnas_jax.nn.lowering.sums import sum_pixels
from egnas_jax.nn.lowering.windows import pad_sides, pixelwise, tap

__all__ = [
    "CHOICES",
    "LOWERINGS",
    "RULES",
    "TABLE",
    "Kernels",
    "Rules",
    "apply_windows",
    "assume_backend",
    "avg_pool",
    "broadcast_edges",
    "compiler_options",
    "convolve",
    "depthwise",
    "differentiable",
    "folded_convolution",
    "for_images",
    "forward_mode",
    "halve",
    "interpret_kernels",
    "kernels_for",
    "materialise",
    "matrix_convolutions",
    "max_pool",
    "output_shape",
    "pad_sides",
    "pixelwise",
    "pointwise",
    "rules_for",
    "sum_pixels",
    "tap",
    "tap_matrices",
    "target_backend",
    "without_gradient",
]
