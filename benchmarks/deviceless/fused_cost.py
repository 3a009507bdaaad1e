"""Counts what one fused kernel for a mixed cell would move and compute.

The kernel exists on paper alone; this arithmetic says whether to write it. The kernels
that were written (nn/fused_edges.py) keep less on the chip (docs/gpu.md). A block of
threads takes one image of one individual. It keeps the active channels of a state with
their border, the inner array of a separable convolution, and the nodes in shared
memory. It computes all primitives of all edges there, on float32 lanes: products of 4
to 16 channels are too small for matrix units. Norms with running statistics and the
mixing weights are folded into the pointwise kernels, so they cost nothing.

Under the statistics of the batch a norm needs all images before it can be applied. So
there is one kernel for each state and each norm on the way, and everything before that
norm is computed again: a first stage of a separable convolution three times, its second
stage and a dilated convolution twice.

Dims: C channels, k of partial channels, H image side, K primitives.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp

from benchmarks import traffic
from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.cell_spec import out_edges
from egnas_jax.nn.primitive import WIDEST
from egnas_jax.nn.primitive_cost import Product, edge_products
from egnas_jax.nn.supernet import SupernetConfig, cells_of
from egnas_jax.space import SPACES

FLOAT32_BYTES = 4  # of a number in shared memory that a convolution reads
STRIP = 8  # neighbouring outputs that a thread computes from the numbers it has read
# Operations beside the multiply-adds of convolutions, for each output of an edge: a
# weighted pooling, another, a skip connection; a shift and a ReLU within each of two
# separable convolutions; the shift of all norms; the addition to a node.
EDGE_OPERATIONS = 3 + 2 * 2 + 1 + 1
# For each pixel of a state: the ReLU, and 3x3 poolings, rows first: a maximum of 2 + 2
# comparisons, an average of 2 + 2 additions and a product.
STATE_OPERATIONS = 1 + 4 + 5
# How often a convolution is computed under statistics of the batch, by its position
# from the end of its primitive; in evaluation each is computed once.
BATCH_REPEATS = (2, 3)


class FusedCost(NamedTuple):
    """What fused cells move and compute for one image of one individual.

    Attributes:
      bytes: from and to the card's memory.
      shared_bytes: read from and written to shared memory.
      multiply_adds: of the convolutions.
      operations: others.
    """

    bytes: int
    shared_bytes: int
    multiply_adds: int
    operations: int


def cell_cost(
    config: SupernetConfig, cell: CellPlan, side: int, batch_stats: str
) -> FusedCost:
    """Counts one fused cell.

    Args:
      config: of the supernet.
      cell: one of `cells_of(config)`.
      side: H of its preprocessed inputs, pixels.
      batch_stats: "running" or "batch".
    """
    space, active = SPACES[config.space], cell.channels // config.partial_channels
    output = side // 2 if cell.reduction else side
    item = jnp.dtype(config.dtype).itemsize
    nodes = space.num_nodes * cell.channels * output**2
    if batch_stats == "running":
        moved = (space.num_inputs * cell.channels * side**2 + nodes) * item
    else:  # two more passes over the active channels of every state
        moved = traffic.mixed_cell_bytes(config, cell, side)
    shared = multiply_adds = operations = 0
    for outgoing in out_edges(space, cell.reduction):
        before = side if outgoing.stride == 2 else output
        source = before**2
        if batch_stats == "batch":
            moved += 2 * active * source * item
        edges, pixels = len(outgoing.edges), active * output**2
        bypass = cell.channels - active
        operations += STATE_OPERATIONS * active * source
        operations += edges * (EDGE_OPERATIONS * pixels + bypass * output**2)
        for work in _work(config, (active, outgoing.stride, before), batch_stats):
            times = edges * work.repeats
            multiply_adds += times * work.product.multiply_adds
            shared += times * pixels * _shared_per_output(work)
    return FusedCost(moved, round(shared), multiply_adds, operations)


class _Work(NamedTuple):
    """A convolution of an edge.

    Attributes:
      product: its sizes.
      stride, dilation: of its window.
      repeats: how often it is computed.
    """

    product: Product
    stride: int
    dilation: int
    repeats: int


def _work(
    config: SupernetConfig, edge: tuple[int, int, int], batch_stats: str
) -> Iterator[_Work]:
    """All convolutions of one edge, in pairs: a depthwise one, a pointwise one.

    Args:
      config, batch_stats: see `cell_cost`.
      edge: channels, stride and side of the state that it leaves.
    """
    for name in SPACES[config.space].primitives:
        products = edge_products(name, *edge)
        for position, product in enumerate(products):
            pairs_behind = (len(products) - 1 - position) // 2
            yield _Work(
                product,
                stride=edge[1] if position < 2 else 1,
                dilation=2 if name.startswith("dil") else 1,
                repeats=BATCH_REPEATS[pairs_behind] if batch_stats == "batch" else 1,
            )


def _shared_per_output(work: _Work) -> float:
    """Bytes of shared memory that a convolution reads and writes for one output.

    A thread reads, for each row of a depthwise kernel, the numbers below a strip of
    outputs. It keeps all channels of a pixel in registers, so that a pointwise
    convolution needs none, and writes what the next depthwise convolution reads.
    """
    if work.product.groups == 1:
        return 0.0
    height, width = work.product.window
    numbers = work.stride * (STRIP - 1) + 1 + work.dilation * (width - 1)
    return FLOAT32_BYTES * (height * numbers / STRIP + 1)


def block_bytes(config: SupernetConfig, cell: CellPlan, side: int) -> int:
    """Shared memory of the block that computes one image, bytes.

    The active channels of a state with their border and the inner array of a separable
    convolution are float32; the nodes have the dtype of the activations.
    """
    space, active = SPACES[config.space], cell.channels // config.partial_channels
    output = side // 2 if cell.reduction else side
    padded = (side + 2 * WIDEST) ** 2 + (output + WIDEST) ** 2
    nodes = space.num_nodes * cell.channels * output**2
    item = jnp.dtype(config.dtype).itemsize
    return active * padded * FLOAT32_BYTES + nodes * item


def network_cost(config: SupernetConfig, side: int, batch_stats: str) -> FusedCost:
    """Counts all fused cells of a supernet; arguments: see `cell_cost`."""
    costs = [
        cell_cost(config, cell, at, batch_stats)
        for cell, at in cells_with_sides(config, side)
    ]
    return FusedCost(*map(sum, zip(*costs, strict=True)))


def cells_with_sides(config, side) -> Iterator[tuple[CellPlan, int]]:
    """Cells and the sides of their inputs."""
    for cell in cells_of(config):
        yield cell, side
        side = side // 2 if cell.reduction else side


def rest_bytes(config: SupernetConfig, side: int) -> int:
    """Bytes that everything but the mixed cells must move for one image."""
    cells = sum(
        traffic.mixed_cell_bytes(config, *cell)
        for cell in cells_with_sides(config, side)
    )
    return traffic.forward_bytes(config, side) - cells
