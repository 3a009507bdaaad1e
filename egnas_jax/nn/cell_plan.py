"""Plans the cells of a network: the kind, channels and inputs of each."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from egnas_jax.space.stages import Stage

NUM_STAGES = 3  # of a network of NAS-Bench-201
# Of a network or a supernet. They are far beyond any useful size: they catch typing
# errors, which would otherwise end in an unclear crash.
LARGEST_SIZES = {"channels": 4096, "layers": 200, "num_classes": 2**20}


class CellPlan(NamedTuple):
    """One cell of a network.

    Attributes:
      kind: the key into a mixing or a genotype, such as "normal".
      channels: C of its nodes.
      inputs: channels of the states it reads: of the outputs of the two cells before
        it, older first; in NAS-Bench-201 of the one cell before it.
      reduced_before: whether the cell before it halved the image, so that the older
        input is still twice as large.
      reduction: whether this cell halves the image.
    """

    kind: str
    channels: int
    inputs: tuple[int, ...]
    reduced_before: bool
    reduction: bool = False


def plan_cells(
    stages: Sequence[Stage],
    channels: int,
    stem: tuple[int, int],
    outputs: Mapping[str, int],
    reduced_before: bool = False,
) -> tuple[CellPlan, ...]:
    """Plans a network of cells with two inputs.

    Args:
      stages: of the network, with their numbers of cells.
      channels: C of a stage of width 1.
      stem: channels of the two states before the first cell, older first.
      outputs: how many nodes a cell of each kind concatenates.
      reduced_before: whether the stem's newer state is half as large as the older.

    Raises:
      ValueError: the channels of a stage are no even number. (Strided convolutions have
        two halves.)
    """
    plans, width, (older, newer) = [], 1.0, stem
    for stage in stages:
        width = stage.width or width * stage.stride
        exact = width * channels
        count = round(exact)
        is_whole = math.isclose(exact, count, rel_tol=1e-9)  # except for rounding
        if stage.width and (not is_whole or count % 2 or not count):
            raise ValueError(
                f"channels is {channels}, so the stage {stage} has {exact:g}, but the "
                f"channels of a cell must be an even number. Change channels or the "
                f"width."
            )
        for index in range(stage.cells):
            reduction = index == 0 and stage.stride == 2
            inputs = older, newer
            plan = CellPlan(stage.kind, count, inputs, reduced_before, reduction)
            plans.append(plan)
            older, newer = newer, outputs[stage.kind] * plan.channels
            reduced_before = reduction
    return tuple(plans)


def last_reduction(cells: Sequence[CellPlan]) -> int:
    """Returns the position of the last cell that halves the image.

    An auxiliary head reads its output. One cell at least must halve the image.
    """
    return max(index for index, cell in enumerate(cells) if cell.reduction)


def run_key(cells: Sequence[CellPlan], index: int) -> tuple:
    """Key of the cells that one loop can run.

    Equal neighbouring cells have the same key; their inputs may differ. A cell that
    halves the image has a key of its own.
    """
    cell = cells[index]
    return cell.kind, cell.channels, cell.reduction, index if cell.reduction else None


def plan_stages(kind: str, channels: int, layers: int) -> tuple[CellPlan, ...]:
    """Plans the cells of a network of NAS-Bench-201, without its residual blocks.

    Args:
      kind: kind of all cells.
      channels: C of the first stage; doubled by each residual block.
      layers: number of cells and residual blocks.
    """
    plans = []
    for stage in range(NUM_STAGES):
        width = stage_channels(channels, stage)
        plans += stage_cells(layers) * [CellPlan(kind, width, (width,), False)]
    return tuple(plans)


def stage_cells(layers: int) -> int:
    """Number of cells of one stage in a network of `layers` cells and blocks."""
    return (layers - (NUM_STAGES - 1)) // NUM_STAGES


def stage_channels(channels: int, stage: int) -> int:
    """C of a stage, where the first has `channels`."""
    return channels * 2**stage
