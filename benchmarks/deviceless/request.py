"""Describes a program that is to be compiled for a card."""

from collections.abc import Callable
from typing import NamedTuple


class Request(NamedTuple):
    """A program to compile.

    Attributes:
      function: a result of `jax.jit`.
      arguments: arrays or their shapes.
      images: forward passes of one image in one step, over all individuals.
      bytes: what a step must move at least (benchmarks/traffic.py), or None.
      multiply_adds: of the convolutions of a step, or None.
      steps: equal steps of one call. Loops whose turns are an argument count as one.
    """

    function: Callable
    arguments: tuple
    images: int
    bytes: int | None
    multiply_adds: int | None
    steps: int = 1
