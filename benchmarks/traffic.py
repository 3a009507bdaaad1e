"""Bytes that a supernet must move through memory, by arithmetic.

What is counted is what kernels move that fuse all that shares a source or a target, and
no more; every number is read or written as often as its kernel names it:
- the stem reads the image and writes its output;
- a preprocessing reads the output of a cell and writes C channels;
- one kernel a source state reads its C / k active channels once and writes C / k
  channels for every edge that leaves it, whatever the primitives do in between;
- one kernel a node reads those of its edges and the bypassed channels of their sources
  and writes C channels; the concatenation of nodes is no copy;
- the classifier reads the last output.
Weights are not counted: a hundred images outweigh them. Statistics of the batch need
every normed output a second time, which is not counted either: with them the share of
the limit that is reported is low by that much.

Dims: C channels, k of partial channels, H image side.
"""

import jax.numpy as jnp

from egnas_jax.nn.cell import out_edges
from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.supernet import SupernetConfig, cells_of
from egnas_jax.space import SPACES

# Backward reads what forward read and wrote, and writes gradients of the same sizes.
STEP_PASSES = 3


def forward_bytes(config: SupernetConfig, side: int, image_channels: int = 3) -> int:
    """Of one image under one mixing.

    Args:
      config: of the supernet; its dtype is that of all arrays.
      side: H, pixels.
      image_channels: of the image.
    """
    stem = config.stem_multiplier * config.channels
    numbers = (image_channels + stem) * side**2
    sides = side, side  # of the outputs of the two cells before
    for cell in cells_of(config):
        numbers += _cell(config, cell, *sides)
        sides = sides[1], sides[1] // (2 if cell.reduction else 1)
    nodes = SPACES[config.space].num_nodes
    numbers += nodes * cell.channels * sides[1] ** 2
    return numbers * jnp.dtype(config.dtype).itemsize


def _cell(config: SupernetConfig, cell: CellPlan, older: int, newer: int) -> int:
    """Numbers that one cell moves; `older`, `newer`: sides of its inputs."""
    space, channels = SPACES[config.space], cell.channels
    active = channels // config.partial_channels
    bypassed = channels - active
    own = newer // 2 if cell.reduction else newer
    numbers = cell.inputs[0] * older**2 + cell.inputs[1] * newer**2
    numbers += 2 * channels * newer**2
    for outgoing in out_edges(space, cell.reduction):
        source = (newer if outgoing.stride == 2 else own) ** 2
        written_and_read = 2 * active * own**2
        edges = len(outgoing.edges)
        numbers += active * source + edges * (written_and_read + bypassed * source)
    return numbers + space.num_nodes * channels * own**2
