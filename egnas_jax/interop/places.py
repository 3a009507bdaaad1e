"""Maps torch weights to leaves of our trees, for reading and for writing.

A list of places says which part of which leaf each torch weight is. Both directions
follow it. The torch names are those of operations.py of the DARTS family, where
positions inside an operation also count its ReLUs.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.init import is_leaf
from egnas_jax.types import PyTree

Path = tuple[str | int, ...]
Index = tuple[int | slice, ...]

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
    "conv_7x1": {"1.weight": ("row",), "2.weight": ("column",), "3": ("norm",)},
    "pool": {"1": ("norm",)},
}
# Buffers that no forward pass reads: counters of torch's batch norm, of thop's count of
# operations, and of torch's averaged models.
COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")


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


def read(
    places: Iterable[Place],
    weights: Mapping[str, np.ndarray],
    leaves: PyTree,
    settings: str,
) -> PyTree:
    """Fills a tree with torch weights.

    Args:
      places: of all weights. A place whose leaf the tree lacks is not read: a network
        without scale and shift has no leaves for them.
      weights: torch name -> array. Counters are ignored.
      leaves: tree of anything with a shape.
      settings: what a user should check if the weights do not fit.

    Raises:
      ValueError: a name is missing, unexpected or has another shape than its leaf.
    """
    weights = {
        name: weight
        for name, weight in weights.items()
        if name.rpartition(".")[2] not in COUNTERS
    }
    places = [place for place in places if _leaf(leaves, place.path) is not None]
    _check_names({place.name for place in places}, weights, settings)
    tree = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32), leaves, is_leaf=is_leaf
    )
    arrays = {place.name: _array(place.name, weights[place.name]) for place in places}
    for place in places:
        shape = _torch_shape(place, _leaf(tree, place.path)[place.index])
        if arrays[place.name].shape != shape:
            raise ValueError(
                f"Weight {place.name} has shape {arrays[place.name].shape}, but "
                f"the configuration asks for {shape}. Check {settings}."
            )
    # Edges may share a pooling norm: the weights of the first edge count.
    for place in reversed(places):
        part = _leaf(tree, place.path)[place.index]
        part[...] = arrays[place.name].reshape(part.shape)
    return jax.tree.map(jnp.asarray, tree)


def write(places: Iterable[Place], variables: PyTree) -> dict[str, np.ndarray]:
    """The weights of a tree by torch name, in torch's layout; the inverse of `read`."""
    weights = {}
    for place in places:
        leaf = _leaf(variables, place.path)
        if leaf is not None:
            part = np.asarray(leaf[place.index])
            part = part.reshape(_torch_shape(place, part))
            weights[place.name] = np.ascontiguousarray(part)
    return weights


def image_channels(weights: Mapping[str, np.ndarray], name: str) -> int:
    """Channels of the images that the kernel `name` reads; 3 if it is no kernel."""
    shape = np.shape(weights.get(name))
    return shape[1] if len(shape) == 4 else 3  # `read` will raise ValueError


def _leaf(tree, path):
    """The leaf at a path; None where the tree has none."""
    for key in path:
        if isinstance(tree, dict) and key not in tree:
            return None
        tree = tree[key]
    return tree


def _check_names(expected: set[str], weights: Mapping, settings: str) -> None:
    """Refuses other names, and blames the configuration where most names fit it."""
    names = set(weights)
    for problem, wrong in (
        ("missing", expected - names),
        ("unexpected", names - expected),
    ):
        if wrong:
            raise ValueError(
                f"{len(wrong)} weights are {problem}: {_listed(wrong)}. "
                f"{_advice(expected, names, settings)}"
            )


def _advice(expected: set[str], names: set[str], settings: str) -> str:
    """What to check where names differ."""
    if names & expected:
        return f"Check that {settings} are those of the checkpoint."
    if not names:
        return "No weights were given. Pass the mapping from names to arrays."
    return (
        f"None of the {len(names)} names given ({_listed(names)}) is one of this "
        f"network's, so these are the weights of another kind of network, or under "
        f"other names; the configuration is not at fault. Rename the weights."
    )


def _listed(names: Iterable[str]) -> str:
    names = sorted(map(str, names))
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def _array(name: str, weight) -> np.ndarray:
    """A weight as a numpy array.

    Raises:
      ValueError: it is none, for example a tensor on a GPU or one with a gradient.
    """
    try:
        return np.asarray(weight, np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Weight {name} is no array of numbers: {error}. Convert tensors by "
            f"weight.detach().float().cpu().numpy()."
        ) from None


def _torch_shape(place, part):
    """Shape of a weight in torch, which keeps axes of size one that we leave out."""
    if place.path[-1] == "depthwise":
        return (part.shape[0], 1, *part.shape[1:])
    return (*part.shape, 1, 1) if place.path[-1] == "pointwise" else part.shape


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
