"""Which implementation computes a kernel, by backend and mode.

    grouped   XLA's grouped convolution and windowed reduction, gradients by autodiff
    shifted   sums and maxima of shifted slices, gradients written by hand
    dense     depthwise and pointwise folded into one convolution; poolings shifted

All compute the same, values and gradients, up to rounding (tests/nn/test_lowering.py).
benchmarks/primitives.py measures them; benchmarks/README.md holds what it found.
"""

from typing import NamedTuple

import jax

from egnas_jax.lookup import lookup
from egnas_jax.nn.lowering import reference, shifted_depthwise, shifted_pooling
from egnas_jax.types import Array


class Kernels(NamedTuple):
    """The implementation of each kind of kernel, by name.

    Attributes:
      depthwise: of convolutions of dilation 1, with the pointwise one behind them:
        "grouped", "shifted" or "dense".
      dilated: of dilation 2, the same names.
      pooling: "grouped" or "shifted".
    """

    depthwise: str
    dilated: str
    pooling: str

    def convolution(self, dilation: int) -> str:
        """The implementation of a depthwise convolution and what follows it."""
        return self.depthwise if dilation == 1 else self.dilated


GROUPED = Kernels("grouped", "grouped", "grouped")
SHIFTED = Kernels("shifted", "shifted", "shifted")
DENSE = Kernels("dense", "dense", "shifted")
LOWERINGS = {"shifted": SHIFTED, "grouped": GROUPED, "dense": DENSE}
CHOICES = {"auto": None, **LOWERINGS}

# backend -> what "auto" takes to evaluate and to train.
#   cpu: measured (benchmarks/README.md): in no program of a primitive is another
#     faster; grouped convolutions take 7 to 45 times as long, dense ones 1.6 to 20.
#   gpu: NOT measured; chosen by the worst that is known of each. cuDNN's depthwise
#     kernels are slow backward (jax#13800) and slower than dense ones where dilated
#     (jax#26266), and its choice of an algorithm can be 30 times off (xla#34273): never
#     `grouped`. Forward, shifted slices are one elementwise kernel. Backward, the
#     gradient of their weights goes through the rows of an image launch after launch:
#     training folds. Poolings stay shifted, since the gradient of a windowed maximum
#     may differ from call to call.
#   tpu: NOT measured; images innermost lie along its vector lanes, its loops need no
#     launches, and convolutions of a few channels leave its matrix unit empty.
TABLE = {
    "cpu": {"eval": SHIFTED, "train": SHIFTED},
    "gpu": {"eval": SHIFTED, "train": DENSE},
    "tpu": {"eval": SHIFTED, "train": SHIFTED},
}
# Folding multiplies the arithmetic by the channels: "auto" folds no wider kernels.
MOST_FOLDED_CHANNELS = 16


def kernels_for(
    name: str, train: bool, channels: int, backend: str | None = None
) -> Kernels:
    """What a setting means for one cell.

    Args:
      name: of `CHOICES`; "auto" reads the table.
      train: batch statistics and gradients, or running statistics.
      channels: that the cell's primitives work on.
      backend: as JAX names it; None: where programs run by default. One that is not in
        the table is taken for a GPU.

    Raises:
      ValueError: unknown name.
    """
    chosen = lookup(CHOICES, name, "lowering")
    if chosen is not None:
        return chosen
    rows = TABLE.get(backend or jax.default_backend(), TABLE["gpu"])
    chosen = rows["train" if train else "eval"]
    if channels <= MOST_FOLDED_CHANNELS:
        return chosen
    return Kernels(*("shifted" if way == "dense" else way for way in chosen))


def depthwise(
    x: Array,
    kernel: Array,
    stride: int = 1,
    dilation: int = 1,
    padded: Array | None = None,
    implementation: str = "shifted",
) -> Array:
    """Depthwise convolution of every edge, without bias; "dense" has none of its own.

    Args:
      x: [E, C, H, W, N], or [1, C, H, W, N] where all edges read the same state.
      kernel: [E, C, T, T], T odd.
      stride: of H and W.
      dilation: between the taps.
      padded: `x` with zeros around it, at least as many as are needed, where several
        kernels read the same `x`.
      implementation: "grouped" or "shifted".

    Returns:
      [E, C, H', W', N], padded symmetrically by dilation * (T - 1) / 2.
    """
    if implementation == "grouped":
        return reference.depthwise(x, kernel, stride, dilation)
    return shifted_depthwise.depthwise(x, kernel, stride, dilation, padded)


def avg_pool(x: Array, stride: int = 1, implementation: str = "shifted") -> Array:
    """3x3 average pooling of [..., H, W, N] over the pixels that exist."""
    return _POOLING[implementation].avg_pool(x, stride)


def max_pool(x: Array, stride: int = 1, implementation: str = "shifted") -> Array:
    """3x3 maximum pooling of [..., H, W, N]."""
    return _POOLING[implementation].max_pool(x, stride)


def halve(x: Array, implementation: str = "shifted") -> Array:
    """2x2 maximum pooling of [..., H, W, N] with stride 2."""
    return _POOLING[implementation].halve(x)


_POOLING = {"grouped": reference, "shifted": shifted_pooling}
