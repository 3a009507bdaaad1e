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
        position, 1 or more, of which one at least is 2 or more. A mutation draws none
        with one choice.
      groups: sizes of consecutive groups of positions, which sum to D; a mutation draws
        a group, then a position of it, so that positions of small groups change more
        often. None: all positions alike.

    Raises:
      ValueError: a size is too small, or the groups or the numbers of choices do not
        fit D.
    """
    if not isinstance(num_choices, int):
        return _unequal_genes(dim, tuple(num_choices), groups)
    for name, value, least in (("dim", dim, 1), ("num_choices", num_choices, 2)):
        if value < least:
            raise ValueError(f"{name} is {value}, but must be at least {least}.")
    groups = _checked_groups(dim, groups)
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


def _checked_groups(dim, groups) -> tuple[int, ...]:
    groups = (dim,) if groups is None else tuple(groups)
    if sum(groups) != dim or min(groups) < 1:
        raise ValueError(
            f"groups are {list(groups)}, but must be at least 1 each and sum to the "
            f"{dim} positions."
        )
    return groups


def _unequal_genes(dim, num_choices, groups) -> Genes:
    """`vector_genes` with a number of choices for each position."""
    if len(num_choices) != dim or min(num_choices) < 1 or max(num_choices) < 2:
        raise ValueError(
            f"num_choices is {list(num_choices)}, but must be {dim} numbers from 1, "
            f"with one at least from 2."
        )
    counts = jnp.asarray(num_choices, jnp.int32)
    of_group = np.repeat(np.arange(dim), _padded(_checked_groups(dim, groups), dim))
    changeable = np.flatnonzero(np.asarray(num_choices) > 1)
    # the groups of positions that can change, without those that have none
    _, starts, sizes = np.unique(
        of_group[changeable], return_index=True, return_counts=True
    )
    positions, starts, sizes = (
        jnp.asarray(array, jnp.int32) for array in (changeable, starts, sizes)
    )

    def random(key: Key) -> Array:
        return jax.random.randint(key, (dim,), 0, counts)

    def mutate(key: Key, parent: Array) -> Array:
        key_group, key_position, key_shift = jax.random.split(key, 3)
        group = jax.random.randint(key_group, (), 0, len(starts))
        place = jax.random.randint(key_position, (), 0, sizes[group])
        position = positions[starts[group] + place]
        shift = jax.random.randint(key_shift, (), 1, counts[position])
        return shifted(parent, position, shift, counts[position])

    return Genes(random, mutate)


def _padded(groups, dim):
    """Sizes of `dim` groups, of which the last ones are empty."""
    return np.pad(groups, (0, dim - len(groups)))


def shifted(
    parent: Array, position: Array, shift: Array, num_choices: Array | int
) -> Array:
    """The parent i32[D] with the choice at one position moved on, cyclically."""
    return parent.at[position].set((parent[position] + shift) % num_choices)
