"""A pytree as named arrays on the host, and back; the sha256 of its leaves.

A leaf goes by its path in the tree, and leaves come in the order of their paths. What
a leaf is (Leaf) and its numbers (a numpy array) travel apart: typed keys become key
data, Python numbers arrays without an axis.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.types import PyTree

SCALARS = {bool: np.bool_, int: np.int64, float: np.float64}


class Leaf(NamedTuple):
    """What a leaf is, apart from its numbers.

    Attributes:
      kind: dtype name; "key<…>" for typed keys, "python int" and so on for scalars.
      shape: of the array (of keys, where it is one).
    """

    kind: str
    shape: tuple[int, ...]


Encoded = dict[str, tuple[Leaf, np.ndarray]]


def digest(tree: PyTree) -> str:
    """Sha256 over all leaves in sorted path order, 64 hexadecimal digits.

    Path, dtype, shape and bytes of each leaf count; typed keys by their key data.

    Raises:
      ValueError: a leaf is neither an array nor a number.
    """
    return digest_of(encode(tree))


def _paths(tree) -> dict[str, Any]:
    """Leaves by path, in sorted path order."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = [(jax.tree_util.keystr(path), leaf) for path, leaf in flat]
    return dict(sorted(named, key=lambda item: item[0]))


def _is_key(leaf) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


def _describe(path, leaf) -> Leaf:
    if type(leaf) in SCALARS:
        return Leaf(f"python {type(leaf).__name__}", ())
    if _is_key(leaf):
        return Leaf(str(leaf.dtype), tuple(leaf.shape))
    if not hasattr(leaf, "dtype") or leaf.dtype.kind in "OSUMm":
        raise ValueError(
            f"Leaf {path} is a {type(leaf).__name__}; a checkpoint holds arrays, "
            f"typed keys and Python numbers. Keep other things in its meta data."
        )
    return Leaf(jnp.dtype(leaf.dtype).name, tuple(leaf.shape))


def describe(tree: PyTree) -> dict[str, Leaf]:
    """What each leaf is, by path; shapes alone will do, numbers are not read.

    Raises:
      ValueError: a leaf is neither an array nor a number.
    """
    return {path: _describe(path, leaf) for path, leaf in _paths(tree).items()}


def encode(tree: PyTree) -> Encoded:
    """What each leaf is, and its numbers on the host, by path."""
    what, arrays = describe(tree), {}
    for path, leaf in _paths(tree).items():
        numbers = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        arrays[path] = np.asarray(numbers, SCALARS.get(type(leaf)))
    return {path: (what[path], array) for path, array in arrays.items()}


def generators(tree: PyTree) -> dict[str, str]:
    """Name of the random generator of each typed key, by path."""
    keys = {path: leaf for path, leaf in _paths(tree).items() if _is_key(leaf)}
    return {path: str(jax.random.key_impl(leaf)) for path, leaf in keys.items()}


def digest_of(encoded: Encoded) -> str:
    """Sha256 of what `encode` gave."""
    total = hashlib.sha256()
    for path, (what, array) in encoded.items():
        total.update(json.dumps([path, *what]).encode())
        total.update(array.tobytes())
    return total.hexdigest()


def decode(rows: Iterable[list], blob: np.ndarray) -> Encoded:
    """What `encode` gave, from its description and one buffer u8[bytes]."""
    encoded, start = {}, 0
    for path, kind, shape, dtype, dims in rows:
        dtype = jnp.dtype(dtype)
        stop = start + dtype.itemsize * math.prod(dims)
        array = np.frombuffer(blob[start:stop].tobytes(), dtype).reshape(dims)
        encoded[path] = Leaf(kind, tuple(shape)), array
        start = stop
    return encoded


def check_fit(
    path: pathlib.Path, stored: dict[str, Leaf], wanted: dict[str, Leaf]
) -> None:
    """Refuses a target of another structure, naming the first place that differs."""

    def words(leaf):
        return "nothing" if leaf is None else f"{leaf.kind}{list(leaf.shape)}"

    for name in sorted({*stored, *wanted}):
        if stored.get(name) != wanted.get(name):
            raise ValueError(
                f"Checkpoint {path} does not fit: at {name} it holds "
                f"{words(stored.get(name))}, where {words(wanted.get(name))} is "
                f"wanted. Resume with the configuration the run was started with."
            )


def rebuild(target: PyTree, stored: Encoded, generators: dict[str, str]) -> PyTree:
    """Tree in the structure of the target, each leaf of the target's kind."""

    def rebuild(path, like):
        name = jax.tree_util.keystr(path)
        array = stored[name][1]
        if name in generators:
            return jax.random.wrap_key_data(jnp.array(array), impl=generators[name])
        if type(like) in SCALARS:
            return type(like)(array)
        if isinstance(like, np.generic):
            return array[()]
        return array.copy() if isinstance(like, np.ndarray) else jnp.array(array)

    return jax.tree_util.tree_map_with_path(rebuild, target)
