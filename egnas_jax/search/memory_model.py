"""Models the memory that a population's evaluation takes, and chooses chunks that fit.

The model counts arrays. A cell keeps states of C channels: inputs, nodes, outputs of
the cells before it; it keeps all of these twice where equal cells compile to a loop.
The S edges that leave one state keep several arrays of their C / k active channels
each, padded with zeros; more where a primitive of a user's own has wider arrays. The
compiler decides how many are alive at once, so the factors are fitted to what XLA
reserves (`memory_analysis` of compiled programs);
tests/search/test_memory_model.py compares them with it again.

Dims: P individuals, N images, H image side, C channels, S edges that leave one state.
"""

import jax.numpy as jnp

from egnas_jax.nn.cell import out_edges
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


def individual_bytes(config: SupernetConfig, side: int, images: int) -> int:
    """Returns the bytes that one individual takes while a population is evaluated.

    Args:
      config: of the supernet.
      side: H, pixels.
      images: N at a time.
    """
    space, cells = SPACES[config.space], cells_of(config)
    widest = loops = 0.0
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
        widest = max(widest, plan.channels * area)
        if len(group) > 1:  # its carried outputs stay reserved during the others
            loops += LOOP_STATES * plan.channels * height**2
    return round(_item(config) * images * (widest + loops))


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

    individuals_at_a_time, images_at_a_time = individuals, images
    while split_images and images_at_a_time > 1 and not fits(1, images_at_a_time):
        images_at_a_time = -(-images_at_a_time // 2)
    while individuals_at_a_time > 1 and not fits(
        individuals_at_a_time, images_at_a_time
    ):
        individuals_at_a_time = -(-individuals_at_a_time // 2)
    return individuals_at_a_time, images_at_a_time
