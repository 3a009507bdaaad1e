"""Converts a pytree to named arrays on the host and back, and hashes it.

The name of a leaf is its path in the tree. Leaves are sorted by name.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.types import PyTree


class LeafLayout(NamedTuple):
    """Dtype and shape of an array.

    Attributes:
      dtype: name of the dtype.
      shape: of the array.
    """

    dtype: str
    shape: tuple[int, ...]


def digest(tree: PyTree) -> str:
    """Sha256 over all leaves in sorted path order, 64 hexadecimal digits.

    The path, dtype, shape and bytes of each leaf count.

    Raises:
      ValueError: a leaf is not an array of numbers.
    """
    return digest_of(host_arrays(tree))


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Sha256 over the result of `host_arrays`."""
    total = hashlib.sha256()
    for path, array in arrays.items():
        total.update(json.dumps([path, *layout_of(array)]).encode())
        total.update(array.tobytes())
    return total.hexdigest()


def host_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """The leaves as arrays on the host, by path, in sorted path order.

    Raises:
      ValueError: a leaf is not an array of numbers.
    """
    return {path: np.asarray(leaf) for path, leaf in _leaves(tree).items()}


def layout_of(leaf: jax.Array | np.ndarray | jax.ShapeDtypeStruct) -> LeafLayout:
    """Dtype and shape of one leaf."""
    return LeafLayout(jnp.dtype(leaf.dtype).name, tuple(leaf.shape))


def _leaves(tree):
    """Leaves by path, in sorted path order, all of them checked."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    for path, leaf in named.items():
        if not _is_numeric(leaf):
            raise ValueError(
                f"Leaf {path} is a {type(leaf).__name__}, but a checkpoint holds only "
                f"arrays of numbers. Store `jax.random.key_data` of a typed key, and "
                f"other things in the meta data."
            )
    return dict(sorted(named.items()))


def _is_numeric(leaf):
    dtype = getattr(leaf, "dtype", None)
    return any(
        dtype is not None and jnp.issubdtype(dtype, kind)
        for kind in (jnp.number, jnp.bool_)
    )


def unpack(rows: Iterable[list], buffer: np.ndarray) -> dict[str, np.ndarray]:
    """Cuts one buffer into arrays.

    Args:
      rows: path, dtype and shape of each array, in order. Checkpoints of earlier
        versions hold more columns, which are ignored.
      buffer: the bytes of all arrays, u8[N].
    """
    arrays, start = {}, 0
    for path, dtype, shape, *_ in rows:
        dtype = jnp.dtype(dtype)
        stop = start + dtype.itemsize * math.prod(shape)
        arrays[path] = buffer[start:stop].view(dtype).reshape(shape)
        start = stop
    return arrays


def check_fit(
    checkpoint: pathlib.Path, arrays: Mapping[str, np.ndarray], target: PyTree
) -> None:
    """Compares the arrays of a checkpoint with the tree that they are restored into.

    Raises:
      ValueError: they differ; the message names the first leaf that does.
    """

    def describe(layout):
        return "nothing" if layout is None else f"{layout.dtype}{list(layout.shape)}"

    stored, expected = (
        {path: layout_of(leaf) for path, leaf in by_path.items()}
        for by_path in (arrays, _leaves(target))
    )
    for path in sorted({*stored, *expected}):
        if stored.get(path) != expected.get(path):
            raise ValueError(
                f"Checkpoint {checkpoint} does not fit: at {path} it holds "
                f"{describe(stored.get(path))}, but {describe(expected.get(path))} is "
                f"expected. Resume with the configuration the run was started with."
            )


def fill(target: PyTree, arrays: Mapping[str, np.ndarray]) -> PyTree:
    """A tree with the structure of the target and the arrays, copied to the device."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jnp.array(arrays[jax.tree_util.keystr(path)]), target
    )
