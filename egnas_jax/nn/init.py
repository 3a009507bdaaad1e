"""Draws the initial values of a tree of arrays in one call.

A network is first described as a tree of `Leaf`. Then one vector of uniform numbers is
drawn and cut into the arrays. Tracing and compiling one draw takes a fraction of the
time of a draw per array, which takes minutes for a supernet.

Source: torch's default for convolutions and linear layers, U(-b, b) with
b = 1 / sqrt(fan_in).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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


def kernel(shape: tuple[int, ...], fan_in: int) -> Leaf:
    """The kernel or the bias of a layer, each of whose outputs has `fan_in` inputs."""
    return Leaf(shape, 0.0, 1.0 / math.sqrt(fan_in))


def constant(shape: tuple[int, ...], value: float) -> Leaf:
    """An array whose elements all start at `value`."""
    return Leaf(shape, value, 0.0)


def is_leaf(node: PyTree) -> bool:
    """Whether a node of a tree is a `Leaf`, as `jax.tree.map` asks."""
    return isinstance(node, Leaf)


def stack_leaves(tree: PyTree, count: int) -> PyTree:
    """Adds a first axis of `count` equally described copies to every leaf of a tree."""

    def stack(leaf: Leaf) -> Leaf:
        return leaf._replace(shape=(count, *leaf.shape))

    return jax.tree.map(stack, tree, is_leaf=is_leaf)


def draw(key: Key, tree: PyTree) -> PyTree:
    """Draws the f32 arrays that a tree of leaves describes.

    Unless it is traced, the random numbers are cut into leaves on the host: a program
    with a thousand results would take seconds to compile.
    """
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_leaf)
    numbers = _numbers(key, sum(leaf.size for leaf in leaves if leaf.bound))
    if isinstance(numbers, jax.core.Tracer):
        arrays = _cut(numbers, leaves, jnp.full)
    else:
        arrays = map(jnp.array, _cut(np.asarray(numbers), leaves, np.full))
    return jax.tree.unflatten(structure, arrays)


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
