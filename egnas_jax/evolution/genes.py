"""Draws and changes solutions that are made of choices.

Dims: D positions of a solution.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.types import Array, Key


class Genes(NamedTuple):
    """What a search over discrete solutions knows of them.

    Attributes:
      random: (key) -> a solution, an array of integers.
      mutate: (key, solution) -> another solution of the same shape.
    """

    random: Callable[[Key], Array]
    mutate: Callable[[Key, Array], Array]


def vector_genes(
    dim: int, num_choices: int, groups: Sequence[int] | None = None
) -> Genes:
    """Solutions i32[D] with the same number of choices at every position.

    A mutation changes one position to another choice.

    Args:
      dim: D.
      num_choices: at every position, 2 or more.
      groups: sizes of consecutive groups of positions, which sum to D; a mutation draws
        a group, then a position of it, so that positions of small groups change more
        often. None: all positions alike.

    Raises:
      ValueError: a size is too small, or the groups do not sum to D.
    """
    for name, value, least in (("dim", dim, 1), ("num_choices", num_choices, 2)):
        if value < least:
            raise ValueError(f"{name} is {value}, but must be at least {least}.")
    groups = (dim,) if groups is None else tuple(groups)
    if sum(groups) != dim or min(groups) < 1:
        raise ValueError(
            f"groups are {list(groups)}, but must be at least 1 each and sum to the "
            f"{dim} positions."
        )
    sizes = jnp.asarray(groups, jnp.int32)
    starts = jnp.asarray(np.cumsum((0, *groups[:-1])), jnp.int32)

    def random(key: Key) -> Array:
        return jax.random.randint(key, (dim,), 0, num_choices)

    def mutate(key: Key, parent: Array) -> Array:
        key_group, key_position, key_shift = jax.random.split(key, 3)
        group = jax.random.randint(key_group, (), 0, len(groups))
        position = jax.random.randint(key_position, (), 0, sizes[group])
        # The shift is at least 1, so the child always differs.
        shift = jax.random.randint(key_shift, (), 1, num_choices)
        return shifted(parent, starts[group] + position, shift, num_choices)

    return Genes(random, mutate)


def shifted(parent: Array, position: Array, shift: Array, num_choices: int) -> Array:
    """The parent i32[D] with the choice at one position moved on, cyclically."""
    return parent.at[position].set((parent[position] + shift) % num_choices)
