"""Plans the cells of a network: the kind, channels and inputs of each."""

from typing import NamedTuple

NUM_STAGES = 3  # of a network of NAS-Bench-201


class CellPlan(NamedTuple):
    """One cell of a network.

    Attributes:
      kind: the key into a mixing or a genotype, such as "normal".
      channels: C of its nodes.
      inputs: channels of the states it reads: of the outputs of the two cells before
        it, older first; in NAS-Bench-201 of the one cell before it.
      reduced_before: whether the cell before it halved the image, so that the older
        input is still twice as large.
    """

    kind: str
    channels: int
    inputs: tuple[int, ...]
    reduced_before: bool

    @property
    def reduction(self) -> bool:
        """Whether this cell halves the image."""
        return self.kind == "reduce"


def plan_cells(
    channels: int,
    layers: int,
    stem: tuple[int, int],
    outputs: tuple[int, int],
    reduced_before: bool = False,
) -> tuple[CellPlan, ...]:
    """Plans a network of the DARTS family.

    Args:
      channels: C of the first cell; doubled by each reduction.
      layers: number of cells; those at layers // 3 and 2 * layers // 3 are reductions.
      stem: channels of the two states before the first cell, older first.
      outputs: how many nodes a normal and a reduction cell concatenate.
      reduced_before: whether the stem's newer state is half as large as the older.
    """
    plans, (older, newer) = [], stem
    for index in range(layers):
        reduction = index in (layers // 3, 2 * layers // 3)
        channels = 2 * channels if reduction else channels
        kind = "reduce" if reduction else "normal"
        plans.append(CellPlan(kind, channels, (older, newer), reduced_before))
        older, newer = newer, outputs[reduction] * channels
        reduced_before = reduction
    return tuple(plans)


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
