"""Names the place of each torch weight in our trees.

The torch names are those of operations.py of the DARTS family, where positions inside
an operation also count its ReLUs.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.primitive import FIRST_HALF, SECOND_HALF
from egnas_jax.nn.primitives import kernel_of

Path = tuple[str | int, ...]
Index = tuple[int | slice, ...]

WINDOW = (3, 3)  # of the first kernel


class Place(NamedTuple):
    """Where a torch weight is in a tree {"params", "batch_stats"}.

    Attributes:
      name: torch's name of the weight.
      path: of the leaf.
      index: of the part of the leaf that the weight is, for instance the cell and the
        edge; () for the whole leaf.
      as_is: whether the weight has our shape, whatever the name of the leaf.
    """

    name: str
    path: Path
    index: Index = ()
    as_is: bool = False


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
    """A candidate operation, with all the weights that one of its kind may have.

    Torch has no names for the weights of a user's own primitive: "params." or
    "batch_stats." and their paths stand for them.
    """
    names = kernel_of(kind).torch
    if names is None:
        yield from _by_paths(kind, prefix, path, index, channels)
        return
    for name, below in names:
        if below[-1] == "norm":
            yield from norm(prefix + name, (*path, *below), index)
        elif below[-1] in (FIRST_HALF, SECOND_HALF):
            half = channels // 2
            rows = slice(half) if below[-1] == FIRST_HALF else slice(half, None)
            kernel_path = ("params", *path, *below[:-1])
            yield Place(prefix + name, kernel_path, (*index, rows))
        else:
            yield Place(prefix + name, ("params", *path, *below), index)


def _by_paths(kind, prefix, path, index, channels) -> Iterator[Place]:
    """The arrays that a primitive has with either stride, by their own paths."""
    found = {}
    for stride in (1, 2):
        trees = kernel_of(kind).init(1, channels, stride, True)
        for collection, tree in zip(("params", "batch_stats"), trees, strict=True):
            for keys, _ in jax.tree.leaves_with_path(tree, is_leaf=is_leaf):
                below = tuple(
                    key.key if hasattr(key, "key") else key.idx for key in keys
                )
                found[collection, below] = None
    for collection, below in found:
        name = ".".join(map(str, (collection, *below)))
        yield Place(prefix + name, (collection, *path, *below), index, as_is=True)
