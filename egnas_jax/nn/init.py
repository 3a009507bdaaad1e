"""Draws the initial values of a tree of arrays in one call.

A network is first described as a tree of `Leaf`. Then one vector of uniform numbers is
drawn and cut into the arrays. Tracing and compiling one draw takes a fraction of the
time of a draw per array, which takes minutes for a supernet.

A primitive of a user's own draws its arrays by a function. Its leaves are `DrawnLeaf`s,
whose random numbers depend on the key and on their place in the tree, and take none
away from the other leaves.

Source: torch's default for convolutions and linear layers, U(-b, b) with
b = 1 / sqrt(fan_in).
"""

import functools
import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn import lowering
from egnas_jax.types import Key, PyTree


class Leaf(NamedTuple):
    """The distribution of one array: uniform in [value - bound, value + bound].

    Attributes:
      shape: shape of the array.
      value: centre of the interval.
      bound: half the width of the interval; 0 for a constant.
    """

    shape: tuple[int, ...]
    value: float
    bound: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class DrawnLeaf(NamedTuple):
    """An array of a tree that a function draws as a whole.

    Attributes:
      shape: shape of the array: axes of copies, each with a key of its own, and then
        the axes of `one`.
      one: shape of the array that the function draws.
      draw: key -> (parameters, batch_stats) of one copy; it can be hashed, and equal
        ones draw alike.
      index: position of the array among the leaves of what `draw` returns.
      depth: number of keys from the root of the parameters or batch_stats to the array.
    """

    shape: tuple[int, ...]
    one: tuple[int, ...]
    draw: Callable[[Key], tuple[PyTree, PyTree]]
    index: int
    depth: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def copies(self) -> int:
        """Number of copies."""
        return math.prod(self.shape[: len(self.shape) - len(self.one)])


def drawn_leaves(
    draw: Callable[[Key], tuple[PyTree, PyTree]],
    shapes: tuple[PyTree, PyTree],
    copies: int,
) -> tuple[PyTree, PyTree]:
    """Leaves of parameters and batch_stats that a function draws together.

    Args:
      draw: see `DrawnLeaf`.
      shapes: what `draw` returns, as trees of anything with a shape.
      copies: length of the first axis of every leaf.
    """
    found, structure = jax.tree.flatten_with_path(shapes)
    leaves = [
        DrawnLeaf((copies, *array.shape), array.shape, draw, index, len(path) - 1)
        for index, (path, array) in enumerate(found)
    ]
    return jax.tree.unflatten(structure, leaves)


def uniform(shape: tuple[int, ...], fan_in: int) -> Leaf:
    """A kernel or a bias that starts uniformly within 1 / sqrt(fan_in) of 0.

    Each output of its layer has `fan_in` inputs.
    """
    return Leaf(shape, 0.0, 1.0 / math.sqrt(fan_in))


def constant(shape: tuple[int, ...], value: float) -> Leaf:
    """An array whose elements all start at `value`."""
    return Leaf(shape, value, 0.0)


def is_leaf(node: PyTree) -> bool:
    """Whether a node of a tree describes an array, as `jax.tree.map` asks."""
    return isinstance(node, Leaf | DrawnLeaf)


def stack_leaves(tree: PyTree, count: int) -> PyTree:
    """Adds a first axis of `count` equally described copies to every leaf of a tree."""

    def stack(leaf: Leaf | DrawnLeaf) -> Leaf | DrawnLeaf:
        return leaf._replace(shape=(count, *leaf.shape))

    return jax.tree.map(stack, tree, is_leaf=is_leaf)


def draw(key: Key, tree: PyTree) -> PyTree:
    """Draws the f32 arrays that a tree of leaves describes.

    Unless the key is traced, the random numbers are cut into leaves on the host: a
    program with a thousand results would take seconds to compile. The leaves lie on the
    devices that the key was put on.
    """
    found, structure = jax.tree.flatten_with_path(tree, is_leaf=is_leaf)
    arrays = _draw_trees(key, found)
    positions = [i for i, (_, leaf) in enumerate(found) if isinstance(leaf, Leaf)]
    uniform = _draw_uniform(key, [found[i][1] for i in positions])
    arrays |= dict(zip(positions, uniform, strict=True))
    return jax.tree.unflatten(structure, [arrays[i] for i in range(len(found))])


def _draw_uniform(key, leaves):
    numbers = _numbers(key, sum(leaf.size for leaf in leaves if leaf.bound))
    if isinstance(numbers, jax.core.Tracer):
        return _cut(numbers, leaves, jnp.full)
    where = numbers.sharding if numbers.committed else None
    return jax.device_put(_cut(jax.device_get(numbers), leaves, np.full), where)


def _draw_trees(key, found) -> dict:
    """The arrays of all `DrawnLeaf`s, by their positions in `found`.

    Parameters and batch_stats of one edge lie at equal places in two trees, so equal
    keys draw the same copy of both.
    """
    roots = {}
    for position, (path, leaf) in enumerate(found):
        if isinstance(leaf, DrawnLeaf):
            root = jax.tree_util.keystr(path[: max(len(path) - leaf.depth, 0)])
            roots.setdefault((root, leaf.draw, leaf.copies), []).append(position)
    arrays = {}
    for (root, draw_one, copies), positions in roots.items():
        drawn = _copies(key, (draw_one, np.uint32(zlib.crc32(root.encode()))), copies)
        for position in positions:
            leaf = found[position][1]
            arrays[position] = drawn[leaf.index].reshape(leaf.shape)
    return arrays


def _copies(key, what, copies):
    """All copies of what a function draws, leaf by leaf.

    Unless the key is traced, they are stacked on the host: the function is then
    compiled once, and not once for each number of copies.
    """
    if isinstance(key, jax.core.Tracer):
        return jax.vmap(functools.partial(_one_copy, *what, key))(jnp.arange(copies))
    program = _copy_program()
    drawn = [program(*what, key, copy) for copy in range(copies)]
    where = drawn[0][0].sharding if drawn[0][0].committed else None
    stacked = [np.stack(leaves) for leaves in zip(*jax.device_get(drawn), strict=True)]
    return jax.device_put(stacked, where)


@functools.cache
def _copy_program():
    """`_one_copy`, compiled with few optimisations, as it runs for microseconds."""
    options = lowering.compiler_options(shape=(1, 1))
    return jax.jit(_one_copy, static_argnums=0, compiler_options=options)


def _one_copy(draw_one, root, key, copy):
    key = jax.random.fold_in(jax.random.fold_in(key, root), copy)
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(draw_one(key))]


@functools.partial(jax.jit, static_argnums=1)
def _numbers(key, count):
    return jax.random.uniform(key, (count,), minval=-1.0, maxval=1.0)


def _cut(numbers, leaves, full):
    """The values of leaves, as arrays of the library that `full` belongs to."""
    sizes = [leaf.size if leaf.bound else 0 for leaf in leaves]
    starts = np.cumsum([0, *sizes]).tolist()

    def values(leaf, start):
        if not leaf.bound:
            return full(leaf.shape, leaf.value, np.float32)
        piece = numbers[start : start + leaf.size].reshape(leaf.shape)
        return leaf.value + leaf.bound * piece

    return [values(*pair) for pair in zip(leaves, starts, strict=False)]
