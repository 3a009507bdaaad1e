"""Names the implementations of the kernels of a cell, and sets of them.

`nn.lowering.choice` explains the implementations and chooses between them.
"""

from typing import NamedTuple


class Kernels(NamedTuple):
    """The names of the implementations that a cell uses.

    Attributes:
      depthwise: convolutions of dilation 1 and the pointwise convolution behind them:
        "grouped", "shifted", "dense", "matrix" or "fused".
      dilated: the same for convolutions of dilation 2.
      pooling: "grouped" or "shifted".
    """

    depthwise: str
    dilated: str
    pooling: str

    def convolution(self, dilation: int) -> str:
        """The implementation of a depthwise convolution of this dilation."""
        return self.depthwise if dilation == 1 else self.dilated


GROUPED = Kernels("grouped", "grouped", "grouped")
SHIFTED = Kernels("shifted", "shifted", "shifted")
DENSE = Kernels("dense", "dense", "shifted")
MATRIX = Kernels("matrix", "matrix", "shifted")
FUSED = Kernels("fused", "fused", "shifted")
LOWERINGS = {
    "shifted": SHIFTED,
    "grouped": GROUPED,
    "dense": DENSE,
    "matrix": MATRIX,
    "fused": FUSED,
}
CHOICES = {"auto": None, **LOWERINGS}
