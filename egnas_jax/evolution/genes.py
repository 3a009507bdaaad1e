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
    dim: int,
    num_choices: int | Sequence[int],
    groups: Sequence[int] | None = None,
) -> Genes:
    """Solutions i32[D] of numbered choices.

    A mutation changes one position to another choice.

    Args:
      dim: D.
      num_choices: number of choices at every position, 2 or more; or a number for each
        position, 1 or more, of which one at least is 2 or more. A mutation leaves
        positions with one choice as they are.
      groups: sizes of consecutive groups of positions, which sum to D; a mutation draws
        a group, then a position of it, so that positions of small groups change more
        often. None: all positions alike.

    Raises:
      ValueError: a size is too small, or the groups or the numbers of choices do not
        fit D.
    """
    counts = np.asarray(_checked_counts(dim, num_choices), np.int32)
    groups = _checked_groups(dim, groups)
    of_position = np.repeat(np.arange(len(groups)), groups)
    positions = np.flatnonzero(counts > 1)
    # Groups without a position that can change are left out.
    _, starts, sizes = np.unique(
        of_position[positions], return_index=True, return_counts=True
    )
    counts, positions, starts, sizes = (
        jnp.asarray(array, jnp.int32) for array in (counts, positions, starts, sizes)
    )

    def random(key: Key) -> Array:
        return jax.random.randint(key, (dim,), 0, counts)

    def mutate(key: Key, parent: Array) -> Array:
        key_group, key_position, key_shift = jax.random.split(key, 3)
        group = jax.random.randint(key_group, (), 0, len(starts))
        place = jax.random.randint(key_position, (), 0, sizes[group])
        position = positions[starts[group] + place]
        # The shift is at least 1, so the child always differs.
        shift = jax.random.randint(key_shift, (), 1, counts[position])
        return shifted(parent, position, shift, counts[position])

    return Genes(random, mutate)


def _checked_counts(dim, num_choices) -> tuple[int, ...]:
    """The number of choices at each position."""
    if dim < 1:
        raise ValueError(f"dim is {dim}, but must be at least 1.")
    is_single = isinstance(num_choices, int)
    counts = (num_choices,) * dim if is_single else tuple(num_choices)
    if len(counts) != dim or min(counts) < 1 or max(counts) < 2:
        raise ValueError(
            f"num_choices is {num_choices}, but must be {dim} numbers from 1, with one "
            f"at least from 2; a single number stands for {dim} equal ones."
        )
    return counts


def _checked_groups(dim, groups) -> tuple[int, ...]:
    groups = (dim,) if groups is None else tuple(groups)
    if sum(groups) != dim or min(groups) < 1:
        raise ValueError(
            f"groups are {list(groups)}, but must be at least 1 each and sum to the "
            f"{dim} positions."
        )
    return groups


def shifted(
    parent: Array, position: Array, shift: Array, num_choices: Array | int
) -> Array:
    """The parent i32[D] with the choice at one position moved on, cyclically."""
    return parent.at[position].set((parent[position] + shift) % num_choices)
