"""Copies torch weights into our trees, and our trees into torch weights.

A list of places says which part of which leaf each torch weight is. Both directions
follow it.
"""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.interop.mismatch import check_names, check_shape
from egnas_jax.interop.places import Place
from egnas_jax.nn.init import is_leaf
from egnas_jax.types import PyTree

# Buffers that no forward pass reads: counters of torch's batch norm, of thop's count of
# operations, and of torch's averaged models.
COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")


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
    check_names({place.name for place in places}, weights, settings)
    tree = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32), leaves, is_leaf=is_leaf
    )
    arrays = {place.name: _array(place.name, weights[place.name]) for place in places}
    for place in places:
        shape = _torch_shape(place, _leaf(tree, place.path)[place.index])
        check_shape(place.name, arrays[place.name].shape, shape, settings)
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


def _leaf(tree, path):
    """The leaf at a path; None where the tree has none."""
    for key in path:
        if isinstance(tree, dict) and key not in tree:
            return None
        tree = tree[key]
    return tree


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
    if place.as_is:
        return part.shape
    if place.path[-1] == "depthwise":
        return (part.shape[0], 1, *part.shape[1:])
    return (*part.shape, 1, 1) if place.path[-1] == "pointwise" else part.shape
