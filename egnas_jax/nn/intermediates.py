"""Lets a caller read, or replace, what the layers of a network compute inside.

Zero-cost proxies need kernels layer by layer, the outputs of convolutions and the
inputs of ReLUs. Layers pass these arrays through `expose`, which returns them unchanged
unless the call of the network is inside `read_by`. Cells are not looped over then,
since an array cannot leave the body of a loop.

Dims: E edges that leave one state, C channels, H, W sides, N images.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp

from egnas_jax.types import Array

# The sites, and the shapes of their arrays:
KERNEL = "kernel"  # of a convolution or a linear layer, [E, ...]
OUTPUT = "output"  # of that layer, before a norm, [E, C, H, W, N]
RELU = "relu"  # input or output of a ReLU in front of a layer, [1 or E, C, H, W, N]
VARIANCE = "variance"  # of a norm's input over the batch, biased, [E, C]
FEATURES = "features"  # before the global average, [1, C, H, W, N]


class Intermediate(NamedTuple):
    """An array inside a network, as a layer passes it through `expose`.

    Attributes:
      site: one of the sites above.
      value: the array.
      weights: how much each edge counts in its cell, f32[E]; ones outside of mixed
        edges.
      pixels: number of pixels of an output of the layer, for a kernel.
    """

    site: str
    value: Array
    weights: Array
    pixels: int


_READ: contextvars.ContextVar[Callable[[Intermediate], Array] | None] = (
    contextvars.ContextVar("read", default=None)
)
_WEIGHTS: contextvars.ContextVar[Array | None] = contextvars.ContextVar(
    "weights", default=None
)


@contextlib.contextmanager
def read_by(read: Callable[[Intermediate], Array]) -> Iterator[None]:
    """Context in which a network, called directly, passes its arrays to a function.

    Args:
      read: returns the array that replaces `Intermediate.value`. It is called in the
        order of the computation, which is the same in every call.
    """
    token = _READ.set(read)
    try:
        yield
    finally:
        _READ.reset(token)


@contextlib.contextmanager
def weighted(weights: Array) -> Iterator[None]:
    """Context of one primitive of mixed edges, with its weights f32[E]."""
    token = _WEIGHTS.set(weights)
    try:
        yield
    finally:
        _WEIGHTS.reset(token)


def is_read() -> bool:
    """Whether the call of the network is inside `read_by`."""
    return _READ.get() is not None


def expose(
    site: str, value: Array, *, edges: int | None = None, pixels: int = 1
) -> Array:
    """Passes an array to the function of `read_by`, if the call is inside one.

    Args:
      site: what the array is.
      value: the array; its first axis is E.
      edges: E, where the array has one entry for all edges.
      pixels: see `Intermediate`.

    Returns:
      The array, or what replaces it.
    """
    read = _READ.get()
    if read is None:
        return value
    weights = _WEIGHTS.get()
    if weights is None:
        weights = jnp.ones(edges or len(value))
    return read(Intermediate(site, value, weights, pixels))


def expose_one(site: str, value: Array, *, pixels: int = 1) -> Array:
    """`expose` of an array without an axis of edges, in a layer that serves no edge."""
    return expose(site, value[None], pixels=pixels)[0] if is_read() else value
