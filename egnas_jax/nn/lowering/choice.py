"""Selects the implementation of each kernel by backend and mode.

    grouped   XLA's grouped convolution and windowed reduction, gradients by autodiff
    shifted   sums and maxima of shifted slices, gradients written by hand
    dense     depthwise and pointwise folded into one convolution; poolings shifted
    matrix    products with matrices of pixels, for tiny images; poolings shifted. A
              mixed cell computes all separable convolutions of a state together
              (nn/joint_blocks.py)
    fused     a mixed cell computes all edges that leave a state in two to four kernels
              of a GPU (nn/fused_edges.py); what is differentiated, and everything
              else, is shifted

All implementations give the same values and gradients up to rounding
(tests/nn/test_lowering.py). benchmarks/primitives.py measures them, and
benchmarks/README.md lists the results.
"""

import functools

from egnas_jax.lookup import lookup
from egnas_jax.nn.kernels import CHOICES, SHIFTED, Kernels
from egnas_jax.nn.lowering import (
    matrix,
    reference,
    shifted_depthwise,
    shifted_pooling,
)
from egnas_jax.nn.lowering.forward_mode import differentiable
from egnas_jax.nn.lowering.fused_backend import check_fused
from egnas_jax.nn.lowering.rules import Rules, rules_for, target_backend
from egnas_jax.types import Array

# What "auto" selects on a backend to evaluate and to train.
#   cpu: measured (benchmarks/README.md). No other implementation is faster in the
#     program of any primitive; grouped convolutions take 7 to 45 times as long, dense
#     ones 1.6 to 20 times.
#   gpu: NOT measured; compiled for an H100 without one (benchmarks/README.md). Under
#     the rules of a GPU shifted slices launch the fewest kernels, in training too, and
#     depend on no convolution of cuDNN. Its depthwise kernels are slow in the backward
#     pass (jax#13800) and slower than dense ones where dilated (jax#26266), its
#     autotuning can choose an algorithm that is 30 times too slow (xla#34273), and it
#     has none made for 4 to 16 channels. The fused kernels are predicted to be faster
#     in evaluation (docs/gpu.md), but no measurement says so. Poolings are shifted,
#     because the gradient of a windowed maximum may differ from call to call.
#   tpu: NOT measured. The images are innermost and fill its vector lanes, its loops
#     need no kernel launches, and convolutions of a few channels leave its matrix unit
#     idle.
TABLE = {
    "cpu": {"eval": SHIFTED, "train": SHIFTED},
    "gpu": {"eval": SHIFTED, "train": SHIFTED},
    "tpu": {"eval": SHIFTED, "train": SHIFTED},
}
# Folding multiplies the arithmetic by the channels, so "auto" folds no wider kernels
# where a row of the table is dense.
MOST_FOLDED_CHANNELS = 16
# On a CPU a program of tiny images takes longer to compile than to run, and "matrix"
# compiles faster than "shifted" (benchmarks/README.md).
MOST_MATRIX_PIXELS = 64


def for_images(name: str, shape: tuple[int, int], backend: str | None = None) -> str:
    """Decides "auto" for a whole supernet where its images are tiny.

    Args:
      name: a key of `CHOICES`.
      shape: H, W of the images.
      backend: see `kernels_for`.

    Returns:
      "matrix" for "auto" on a CPU if the images have at most `MOST_MATRIX_PIXELS`
      pixels, else the name as it is.

    Raises:
      ValueError: "matrix" for larger images, whose matrices would fill the memory, or
        "fused" on a backend that cannot run it.
    """
    if name == "fused":
        check_fused(backend)
    if name == "matrix" and not is_tiny(shape):
        raise ValueError(
            f"supernet.lowering is matrix, but the images have {shape[0]} x {shape[1]} "
            f"pixels: it takes at most {MOST_MATRIX_PIXELS}, as its matrices grow with "
            f"the square of that number. Choose auto or shifted."
        )
    on_cpu = (backend or target_backend()) == "cpu"
    return "matrix" if name == "auto" and is_tiny(shape) and on_cpu else name


def is_tiny(shape: tuple[int, int]) -> bool:
    """Whether images of H x W pixels are computed by matrices of pixels on a CPU."""
    return shape[0] * shape[1] <= MOST_MATRIX_PIXELS


def kernels_for(
    name: str, train: bool, channels: int, backend: str | None = None
) -> Kernels:
    """The implementations that a setting selects for one cell.

    Args:
      name: a key of `CHOICES`; "auto" reads `TABLE`.
      train: whether the cell trains (batch statistics and gradients).
      channels: channels that the cell's primitives work on.
      backend: JAX's name of the backend, or None for the default backend. A backend
        that is not in the table gets the row of the GPU.

    Raises:
      ValueError: the name is unknown.
    """
    kernels = lookup(CHOICES, name, "lowering")
    if kernels is not None:
        return kernels
    rows = TABLE.get(backend or target_backend(), TABLE["gpu"])
    kernels = rows["train" if train else "eval"]
    if channels <= MOST_FOLDED_CHANNELS:
        return kernels
    return Kernels(*("shifted" if way == "dense" else way for way in kernels))


def depthwise(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    padded: Array | None = None,
    implementation: str = "shifted",
    rules: Rules | None = None,
) -> Array:
    """Depthwise convolution of every edge, without bias.

    Args:
      x: [E, C, H, W, N], or [1, C, H, W, N] where all edges read the same state.
      kernel: [E, C, T, T], T odd.
      stride: stride of H and W.
      dilation: distance between the taps, pixels.
      padded: `x` with at least the zeros around it that the kernel needs; saves time
        where several kernels read the same `x`.
      implementation: "grouped", "shifted" or "matrix"; "dense" has no depthwise
        convolution.
      rules: rules of a backend, or None for those of the default backend.

    Returns:
      [E, C, H', W', N], padded symmetrically by dilation * (T - 1) / 2.
    """
    if implementation == "grouped":
        return reference.depthwise(x, kernel, stride, dilation)
    if implementation == "matrix":
        return matrix.depthwise(x, kernel, stride, dilation)
    return shifted_depthwise.depthwise(x, kernel, stride, dilation, padded, rules=rules)


def avg_pool(
    x: Array,
    stride: int = 1,
    implementation: str = "shifted",
    rules: Rules | None = None,
) -> Array:
    """3x3 average pooling of [..., H, W, N]; padding pixels are not counted."""
    if implementation == "grouped":
        return reference.avg_pool(x, stride)
    return shifted_pooling.avg_pool(x, stride, rules or rules_for())


def max_pool(
    x: Array,
    stride: int = 1,
    implementation: str = "shifted",
    rules: Rules | None = None,
) -> Array:
    """3x3 maximum pooling of [..., H, W, N]."""
    by_autodiff = functools.partial(reference.max_pool, stride=stride)
    if implementation == "grouped":
        return by_autodiff(x)
    rules = rules or rules_for()
    by_hand = functools.partial(shifted_pooling.max_pool, stride=stride, rules=rules)
    return differentiable(by_hand, by_autodiff)(x)


def halve(x: Array, implementation: str = "shifted") -> Array:
    """2x2 maximum pooling of [..., H, W, N] with stride 2."""
    pooling = reference if implementation == "grouped" else shifted_pooling
    return pooling.halve(x)
