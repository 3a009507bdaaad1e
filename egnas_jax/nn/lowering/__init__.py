"""How convolutions and poolings are computed, in several implementations of one result.

XLA's grouped convolution is two orders too slow on a CPU, and on every backend a
depthwise or pooling kernel of a supernet is bound by memory, not by arithmetic. A sum
over taps of shifted slices is one fused elementwise loop that vectorises over the
images, which therefore lie innermost: every array here is [..., C, H, W, N].

`choice` says which implementation runs where; `reference` is the simple one, the oracle
of the others.

Sums are taken in float32 at least, whatever the activations are (nn/precision.py).

Padding is torch's: symmetric, never XLA's SAME (which pads stride-2 windows unevenly).

Dims: E edges, C channels, H, W height and width, N images, T kernel side.
"""

from egnas_jax.nn.lowering.barriers import compiler_options, materialise
from egnas_jax.nn.lowering.choice import (
    CHOICES,
    LOWERINGS,
    TABLE,
    Kernels,
    avg_pool,
    depthwise,
    halve,
    kernels_for,
    max_pool,
)
from egnas_jax.nn.lowering.dense import convolve, folded, for_edges, pointwise
from egnas_jax.nn.lowering.windows import output_side, pad_sides, pixelwise, tap

__all__ = [
    "CHOICES",
    "LOWERINGS",
    "TABLE",
    "Kernels",
    "avg_pool",
    "compiler_options",
    "convolve",
    "depthwise",
    "folded",
    "for_edges",
    "halve",
    "kernels_for",
    "materialise",
    "max_pool",
    "output_side",
    "pad_sides",
    "pixelwise",
    "pointwise",
    "tap",
]
