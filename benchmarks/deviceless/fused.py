"""Predicts what one fused kernel for a mixed cell would move, compute and take.

python -m benchmarks.deviceless.fused [--card h100] [--today FILE]

The kernel exists on paper alone; this is the arithmetic that says whether to write it.
A block of threads takes one image of one individual. It keeps the active channels of a
state with their border, the inner array of a separable convolution, and the nodes in
shared memory. It computes all primitives of all edges there, on float32 lanes: products
of 4 to 16 channels are too small for matrix units. Norms with running statistics and
the mixing weights are folded into the pointwise kernels, so they cost nothing.

Under the statistics of the batch a norm needs all images before it can be applied, so
there is one kernel for each state and each norm on the way, and everything before that
norm is computed again: a first stage of a separable convolution three times, its second
stage and a dilated convolution twice.

Dims: C channels, k of partial channels, H image side, K primitives.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp

from benchmarks import parity, rows, traffic
from benchmarks.deviceless.cards import CARDS, Card, card_named
from benchmarks.deviceless.roofline import Rates, rates_of
from egnas_jax.nn.cell import OutEdges, out_edges
from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.cost import PRIMITIVE_CONVOLUTIONS, Convolution
from egnas_jax.nn.primitives import WIDEST
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


class FusedPrediction(NamedTuple):
    """Predicted seconds of a population.

    Attributes:
      memory, shared, arithmetic: what each limit alone would allow the fused cells.
      rest: least seconds of stem, preprocessing and classifier, bound by memory.
    """

    memory: float
    shared: float
    arithmetic: float
    rest: float

    @property
    def seconds(self) -> float:
        """Of the whole network, if the cells run at their slowest limit."""
        return max(self.memory, self.shared, self.arithmetic) + self.rest


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
        source = (side if outgoing.stride == 2 else output) ** 2
        if batch_stats == "batch":
            moved += 2 * active * source * item
        edges, pixels = len(outgoing.edges), active * output**2
        bypass = cell.channels - active
        operations += STATE_OPERATIONS * active * source
        operations += edges * (EDGE_OPERATIONS * pixels + bypass * output**2)
        for work in _work(config, outgoing, active, batch_stats):
            times = edges * work.repeats
            multiply_adds += times * work.convolution.multiply_adds(output)
            shared += times * pixels * _shared_per_output(work)
    return FusedCost(moved, round(shared), multiply_adds, operations)


class _Work(NamedTuple):
    """A convolution of an edge.

    Attributes:
      convolution: its sizes, of a state that was not halved.
      stride, dilation: of its window.
      repeats: how often it is computed.
    """

    convolution: Convolution
    stride: int
    dilation: int
    repeats: int


def _work(
    config: SupernetConfig, outgoing: OutEdges, active: int, batch_stats: str
) -> Iterator[_Work]:
    """All convolutions of one edge, in pairs: a depthwise one, a pointwise one."""
    strided = outgoing.stride == 2
    for name in SPACES[config.space].primitives:
        convolutions = PRIMITIVE_CONVOLUTIONS[name](active, 0, strided)
        for position, convolution in enumerate(convolutions):
            pairs_behind = (len(convolutions) - 1 - position) // 2
            yield _Work(
                convolution,
                stride=outgoing.stride if position < 2 else 1,
                dilation=2 if name.startswith("dil") else 1,
                repeats=BATCH_REPEATS[pairs_behind] if batch_stats == "batch" else 1,
            )


def _shared_per_output(work: _Work) -> float:
    """Bytes of shared memory that a convolution reads and writes for one output.

    A thread reads, for each row of a depthwise kernel, the numbers below a strip of
    outputs. It keeps all channels of a pixel in registers, so that a pointwise
    convolution needs none, and writes what the next depthwise convolution reads.
    """
    if work.convolution.groups == 1:
        return 0.0
    height, width = work.convolution.kernel
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
    """Counts all fused cells of a supernet; arguments as of `cell_cost`."""
    costs = [
        cell_cost(config, cell, at, batch_stats) for cell, at in _cells(config, side)
    ]
    return FusedCost(*map(sum, zip(*costs, strict=True)))


def _cells(config, side) -> Iterator[tuple[CellPlan, int]]:
    """Cells and the sides of their inputs."""
    for cell in cells_of(config):
        yield cell, side
        side = side // 2 if cell.reduction else side


def rest_bytes(config: SupernetConfig, side: int) -> int:
    """Bytes that everything but the mixed cells must move for one image."""
    cells = sum(
        traffic.mixed_cell_bytes(config, *cell) for cell in _cells(config, side)
    )
    return traffic.forward_bytes(config, side) - cells


def predict(case: parity.Case, rates: Rates, batch_stats: str) -> FusedPrediction:
    """Predicts the seconds of a population.

    Args:
      case: size of the problem; the dtype of its configuration is that of the arrays
        between cells.
      rates: of the card. A multiply-add is one operation of a lane here.
      batch_stats: "running" or "batch".
    """
    images = case.individuals * case.images
    cost = network_cost(case.config, case.side, batch_stats)
    operations = cost.multiply_adds + cost.operations
    return FusedPrediction(
        memory=images * cost.bytes / rates.bytes_per_s,
        shared=images * cost.shared_bytes / rates.l1_bytes_per_s,
        arithmetic=images * operations / rates.operations_per_s,
        rest=images * rest_bytes(case.config, case.side) / rates.bytes_per_s,
    )


def report(card: Card, today: dict[str, float]) -> str:
    """Writes the predictions for the full-size population.

    Args:
      card: the GPU.
      today: predicted milliseconds of today's programs, by name and precision.
    """
    rates, lines = rates_of(card), []
    for precision in ("float32", "bfloat16"):
        case = rows.in_precision(parity.CASES["full"], precision)
        largest = max(block_bytes(case.config, *cell) for cell in _cells(*case[:2]))
        fits = "fits" if largest <= card.shared_bytes - 1024 else "does not fit"
        lines.append(
            f"{precision}: a block takes {largest / 1024:.0f} KiB of shared memory at "
            f"most, which {fits}"
        )
        for batch_stats in ("running", "batch"):
            lines.append(_line(case, rates, batch_stats))
            name = f"population-{batch_stats} {precision}"
            if name in today:
                fused = 1e3 * predict(case, rates, batch_stats).seconds
                lines.append(
                    f"    today's programs: {today[name]:.0f} ms; predicted gain "
                    f"{today[name] / fused:.1f}"
                )
    return "\n".join(lines)


def _line(case, rates, batch_stats):
    images = case.individuals * case.images
    cost = network_cost(case.config, case.side, batch_stats)
    predicted = predict(case, rates, batch_stats)
    moved = images * (cost.bytes + rest_bytes(case.config, case.side))
    return (
        f"  {batch_stats} statistics: {1e3 * predicted.seconds:.1f} ms predicted: "
        f"{1e3 * predicted.arithmetic:.1f} of arithmetic "
        f"({cost.multiply_adds / 1e6:.1f} M multiply-adds and "
        f"{cost.operations / 1e6:.1f} M other operations an image), "
        f"{1e3 * predicted.shared:.1f} of shared memory, "
        f"{1e3 * predicted.memory:.1f} of memory, and {1e3 * predicted.rest:.1f} for "
        f"the rest; {moved / 1e9:.1f} GB"
    )


def main() -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--card", choices=CARDS, default="h100")
    parser.add_argument(
        "--today",
        type=pathlib.Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files of `python -m benchmarks.deviceless --json`, to compare with",
    )
    options = parser.parse_args()
    today = {}
    for file in options.today:
        programs = json.loads(file.read_text())["programs"]
        today |= {name: row["ms"] for name, row in programs.items()}
    print(report(card_named(options.card), today))
    return 0


if __name__ == "__main__":
    sys.exit(main())
