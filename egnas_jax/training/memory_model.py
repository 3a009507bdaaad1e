"""Models the memory that evaluations of cells take, and chooses chunks that fit.

The model counts arrays. A cell keeps states of C channels: inputs, nodes, outputs of
the cells before it; it keeps all of these twice where equal cells compile to a loop.
The S edges that leave one state keep several arrays of their C / k active channels
each, padded with zeros; more where a primitive of a user's own has wider arrays. The
compiler decides how many are alive at once, so the factors are fitted to what XLA
reserves (`memory_analysis` of compiled programs);
tests/training/test_memory_model.py compares them with it again.

Dims: P individuals, N images, H image side, C channels, S edges that leave one state.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp

from egnas_jax.nn.cell_spec import out_edges
from egnas_jax.nn.primitive_cost import edge_expansion
from egnas_jax.nn.supernet import SupernetConfig, cells_of, groups_of
from egnas_jax.space import SPACES

# Arrays alive at once, fitted on the CPU to programs of 3 to 8 cells, 8 and 16
# channels, k from 1 to 4, images of 8 to 32 pixels: within 20 % of all of them.
# Networks of one or two cells, which begin with a reduction, take half as much.
STATES = 4.0  # of C channels, in the widest cell
EDGE_ARRAYS = 4.7  # of C / k channels there, for each of S edges
LOOP_STATES = 7.2  # of C channels, for every loop over equal cells
SHARED_STATES = 12.0  # of the first cell, whose inputs no mixing changes; at most
BORDER = 2  # zeros on either side of an edge's array: those of a 5x5 kernel
# Fraction of free memory to use; a margin, because XLA versions allocate differently.
SHARE = 0.5


class _Group(NamedTuple):
    """Equal cells.

    Attributes:
      number: of the cells.
      state: numbers of one state of C channels, for one image.
      arrays: numbers of the arrays of one cell that are alive at once.
    """

    number: int
    state: int
    arrays: float


def _groups(config: SupernetConfig, side: int) -> Iterator[_Group]:
    """The cells of a supernet on images of a side."""
    space, cells = SPACES[config.space], cells_of(config)
    halvings = 0
    for group in groups_of(config):
        plan = cells[group[0]]
        halvings += plan.reduction
        height = side >> halvings
        if space.macro == "nasbench201":  # between whose cells residual blocks halve it
            height = side * config.channels // plan.channels
        fan_out = max(len(out.edges) for out in out_edges(space, plan.reduction))
        active = plan.channels // config.partial_channels
        wider = max(edge_expansion(name, active) for name in space.primitives)
        edges = EDGE_ARRAYS * fan_out * wider / config.partial_channels
        area = STATES * height**2 + edges * (height + 2 * BORDER) ** 2
        state = plan.channels * height**2
        yield _Group(len(group), state, plan.channels * area)


def individual_bytes(config: SupernetConfig, side: int, images: int) -> int:
    """Returns the bytes that one individual takes while a population is evaluated.

    Args:
      config: of the supernet.
      side: H, pixels.
      images: N at a time.
    """
    groups = list(_groups(config, side))
    widest = max(group.arrays for group in groups)
    # the carried outputs of a loop stay reserved during the others
    loops = sum(LOOP_STATES * group.state for group in groups if group.number > 1)
    return round(_item(config) * images * (widest + loops))


def gradient_bytes(config: SupernetConfig, side: int, images: int) -> int:
    """Returns the bytes that one individual takes while its loss is differentiated.

    The arrays of all its cells are kept for the backward pass. XLA reserved 1.0 of this
    for 5 cells of NAS-Bench-201 and 0.8 for 11, and 0.7 where only the gradient by the
    images is asked for.

    Args:
      config: of the supernet.
      side: H, pixels.
      images: N at a time.
    """
    arrays = sum(group.number * group.arrays for group in _groups(config, side))
    return round(_item(config) * images * arrays)


def shared_bytes(config: SupernetConfig, side: int, images: int) -> int:
    """Returns the bytes that are taken once, whatever the number of individuals.

    Args:
      config: of the supernet.
      side: H, pixels.
      images: N at a time.
    """
    states = SHARED_STATES * config.channels
    return round(_item(config) * images * states * side**2)


def _item(config):
    return jnp.dtype(config.dtype).itemsize


def fitting_chunks(
    config: SupernetConfig,
    side: int,
    individuals: int,
    images: int,
    *,
    free: int,
    split_images: bool,
) -> tuple[int, int]:
    """Returns how many individuals and images at a time fill `SHARE` of the memory.

    Chunks are halved until they fit, so that a little more or less free memory, as
    after a resume, gives the same ones. The images are halved first, if even one
    individual does not fit, and then the population.

    Args:
      config: of the supernet.
      side: H, pixels.
      individuals, images: P and N of the population that is evaluated.
      free: bytes of free memory.
      split_images: whether images may be split (not with batch statistics).

    Returns:
      Chunks of the population and of the images, at least 1 each. With one individual
      at a time and images that cannot be split, more than is free may be needed.
    """

    def fits(individuals_at_a_time, images_at_a_time):
        need = shared_bytes(config, side, images_at_a_time)
        each = individual_bytes(config, side, images_at_a_time)
        return need + individuals_at_a_time * each <= SHARE * free

    images_at_a_time = images
    if split_images:
        images_at_a_time = _halved(images, lambda number: fits(1, number))
    individuals_at_a_time = _halved(
        individuals, lambda number: fits(number, images_at_a_time)
    )
    return individuals_at_a_time, images_at_a_time


def fitting_number(number: int, each: int, free: int) -> int:
    """Returns how many of some equal things fill `SHARE` of the memory, at least 1.

    The number is halved until it fits, as in `fitting_chunks`.

    Args:
      number: of the things.
      each: bytes that one of them takes.
      free: bytes of free memory.
    """
    return _halved(number, lambda number: number * each <= SHARE * free)


def _halved(number: int, fits: Callable[[int], bool]) -> int:
    """A number, halved until it fits or is 1."""
    while number > 1 and not fits(number):
        number = -(-number // 2)
    return number
