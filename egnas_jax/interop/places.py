"""Names the place of each torch weight in our trees.

The torch names are those of operations.py of the DARTS family, where positions inside
an operation also count its ReLUs.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from egnas_jax.nn.cell_plan import CellPlan

Path = tuple[str | int, ...]
Index = tuple[int | slice, ...]

WINDOW = (3, 3)  # of the first kernel

# Torch name inside a primitive -> path of our leaf, or of the leaves of a norm.
BLOCK = {
    "op.1.weight": ("depthwise",),
    "op.2.weight": ("pointwise",),
    "op.3": ("norm",),
}
PRIMITIVE_NAMES = {
    "sep_conv": {
        **{name: ("first", *path) for name, path in BLOCK.items()},
        "op.5.weight": ("second", "depthwise"),
        "op.6.weight": ("second", "pointwise"),
        "op.7": ("second", "norm"),
    },
    "dil_conv": BLOCK,
    "nor_conv": {"op.1.weight": ("conv",), "op.2": ("norm",)},
    "conv_7x1": {"1.weight": ("row",), "2.weight": ("column",), "3": ("norm",)},
    "pool": {"1": ("norm",)},
}


class Place(NamedTuple):
    """Where a torch weight is in a tree {"params", "batch_stats"}.

    Attributes:
      name: torch's name of the weight.
      path: of the leaf.
      index: of the part of the leaf that the weight is, for instance the cell and the
        edge; () for the whole leaf.
    """

    name: str
    path: Path
    index: Index = ()


def image_channels(weights: Mapping[str, np.ndarray], name: str) -> int:
    """Channels of the images that the kernel `name` reads; 3 if it is no kernel.

    A kernel [H, W, in, out] is understood too, so that `transfer.read` can name it.
    """
    shape = np.shape(weights.get(name))
    if len(shape) != 4:
        return 3
    is_transposed = shape[:2] == WINDOW and shape[2:] != WINDOW
    return shape[2] if is_transposed else shape[1]


def norm(
    name: str, path: Path, index: Index, stats_path: Path | None = None
) -> Iterator[Place]:
    """A batch norm; `stats_path` is for statistics with another path than `path`."""
    stats_path = path if stats_path is None else stats_path
    for theirs, ours in (("weight", "scale"), ("bias", "bias")):
        yield Place(f"{name}.{theirs}", ("params", *path, ours), index)
    for theirs, ours in (("running_mean", "mean"), ("running_var", "var")):
        yield Place(f"{name}.{theirs}", ("batch_stats", *stats_path, ours), index)


def classifier(name: str, path: Path) -> Iterator[Place]:
    """A linear layer."""
    yield Place(f"{name}.weight", ("params", *path, "kernel"))
    yield Place(f"{name}.bias", ("params", *path, "bias"))


def preprocessing(
    plan: CellPlan, prefix: str, path: Path, index: Index
) -> Iterator[Place]:
    """The layers that bring both inputs of a cell to its channels."""
    for number in (0, 1):
        layer = f"{prefix}.preprocess{number}"
        below = (*path, f"s{number}")
        if number == 0 and plan.reduced_before:
            yield from factorized_reduce(f"{layer}.", below, index, plan.channels)
        else:
            pointwise = ("params", *below, "pointwise")
            yield Place(f"{layer}.op.1.weight", pointwise, index)
            yield from norm(f"{layer}.op.2", (*below, "norm"), index)


def factorized_reduce(
    prefix: str, path: Path, index: Index, channels: int
) -> Iterator[Place]:
    """Two convolutions that have half of the output channels each, and a norm."""
    half = channels // 2
    for name, rows in (("conv_1", slice(half)), ("conv_2", slice(half, None))):
        pointwise = ("params", *path, "pointwise")
        yield Place(f"{prefix}{name}.weight", pointwise, (*index, rows))
    yield from norm(f"{prefix}bn", (*path, "norm"), index)


def primitive(
    kind: str, prefix: str, path: Path, index: Index, channels: int
) -> Iterator[Place]:
    """A candidate operation, with all the weights that one of its kind may have."""
    if kind == "skip_connect":
        yield from factorized_reduce(prefix, path, index, channels)
        return
    family = "pool" if "pool" in kind else kind.rsplit("_", 1)[0]
    for name, below in PRIMITIVE_NAMES.get(family, {}).items():
        if below[-1] == "norm":
            yield from norm(prefix + name, (*path, *below), index)
        else:
            yield Place(prefix + name, ("params", *path, *below), index)
