"""Counts the bytes that a supernet must move through memory.

The count assumes kernels that fuse everything with a common source or target, and no
cache between kernels:
- the stem reads the image and writes its output;
- a preprocessing reads the output of a cell and writes C channels;
- one kernel per source state reads its C / k active channels once and writes C / k
  channels for every edge that leaves it, whatever the primitives do in between;
- one kernel per node reads the outputs of its edges and the bypassed channels of their
  sources and writes C channels; nodes are concatenated without a copy;
- the classifier reads the last output.
Weights are not counted, since a hundred images outweigh them. Batch statistics read
every normalised output a second time, which is not counted either, so the reported
share of the limit is too low by that much under batch statistics.

Dims: C channels, k of partial channels, H image side.
"""

import jax.numpy as jnp

from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.cell_spec import out_edges
from egnas_jax.nn.supernet import SupernetConfig, cells_of
from egnas_jax.space import SPACES

# Backward reads what forward read and wrote, and writes gradients of the same sizes.
STEP_PASSES = 3


def forward_bytes(config: SupernetConfig, side: int, image_channels: int = 3) -> int:
    """Bytes that the forward pass of one image under one mixing moves.

    Args:
      config: configuration of the supernet; its dtype is that of all arrays.
      side: H, in pixels.
      image_channels: channels of the image.
    """
    stem = config.stem_multiplier * config.channels
    numbers = (image_channels + stem) * side**2
    sides = side, side  # of the outputs of the two previous cells
    for cell in cells_of(config):
        numbers += _cell(config, cell, *sides)
        sides = sides[1], sides[1] // (2 if cell.reduction else 1)
    nodes = SPACES[config.space].num_nodes
    numbers += nodes * cell.channels * sides[1] ** 2
    return numbers * jnp.dtype(config.dtype).itemsize


def mixed_cell_bytes(config: SupernetConfig, cell: CellPlan, side: int) -> int:
    """Bytes that one cell moves for one image, without its preprocessing.

    Args:
      config: configuration of the supernet.
      cell: one of `cells_of(config)`.
      side: H of its preprocessed inputs, in pixels.
    """
    return _mixed_cell(config, cell, side) * jnp.dtype(config.dtype).itemsize


def _cell(config: SupernetConfig, cell: CellPlan, older: int, newer: int) -> int:
    """Numbers that one cell moves; `older` and `newer` are the sides of its inputs."""
    numbers = cell.inputs[0] * older**2 + cell.inputs[1] * newer**2
    numbers += 2 * cell.channels * newer**2
    return numbers + _mixed_cell(config, cell, newer)


def _mixed_cell(config: SupernetConfig, cell: CellPlan, side: int) -> int:
    """Numbers that the edges and nodes of a cell move; its inputs have this side."""
    space, channels = SPACES[config.space], cell.channels
    active = channels // config.partial_channels
    bypassed = channels - active
    output = side // 2 if cell.reduction else side
    numbers = space.num_nodes * channels * output**2
    for outgoing in out_edges(space, cell.reduction):
        source = (side if outgoing.stride == 2 else output) ** 2
        written_and_read = 2 * active * output**2
        edges = len(outgoing.edges)
        numbers += active * source + edges * (written_and_read + bypassed * source)
    return numbers
