"""Configures the network that a genotype is trained in, and plans its cells.

Source: model.py of the DARTS family (`NetworkCIFAR`, `NetworkImageNet`).
"""

import dataclasses
from typing import NamedTuple

from egnas_jax.lookup import lookup
from egnas_jax.nn.cell_plan import LARGEST_SIZES, CellPlan, plan_cells
from egnas_jax.settings import check_field_types, check_ranges
from egnas_jax.space import Genotype
from egnas_jax.space.stages import network_stages, stages_text

# Channels of the auxiliary head: after its 1x1 convolution and after its 2x2 one.
HEAD_HIDDEN, HEAD_FEATURES = 128, 768


class Frame(NamedTuple):
    """How the stem and the auxiliary head of a network are built.

    Attributes:
      stem: for each convolution of the stem, its channels as a multiple of the first
        cell's C, and its stride. A ReLU separates two convolutions.
      pool_stride: stride of the head's 5x5 pooling.
      second_norm: whether a norm follows the head's second convolution.
    """

    stem: tuple[tuple[float, int], ...]
    pool_stride: int
    second_norm: bool

    def stem_channels(self, channels: int) -> tuple[int, ...]:
        """Output channels of the stem's convolutions, where C is `channels`."""
        return tuple(round(multiple * channels) for multiple, _ in self.stem)

    @property
    def head_sides(self) -> tuple[int, ...]:
        """Sides of a state that the head can read: its pooling must leave 2x2."""
        return tuple(5 + self.pool_stride + i for i in range(self.pool_stride))


# The ImageNet head of DARTS lacks its second norm because of a typo. Its authors kept
# it so, for consistency with the experiments of their paper.
FRAMES = {
    "cifar": Frame(stem=((3, 1),), pool_stride=3, second_norm=True),
    "imagenet": Frame(
        stem=((0.5, 2), (1, 2), (1, 2)), pool_stride=2, second_norm=False
    ),
}


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network around the cells of a genotype.

    Attributes:
      channels: C of the first cell; doubled by each of the two reductions.
      layers: number of cells; those at layers // 3 and 2 * layers // 3 are reductions.
      num_classes: width of the classifier.
      auxiliary: whether training uses a second classifier, the auxiliary head.
      drop_path: probability of dropping a path at the last epoch; it grows from 0.
      frame: "cifar" (one convolution before the cells) or "imagenet" (three, which
        divide the image's side by eight).
      stages: text of the stages that the cells form (`space.stages`), as
        "normal*3,reduce*1/2,normal*3", or a list of `Stage`; None: as DARTS has them.
      remat: whether to rematerialise the activations inside a cell for its gradient.
        This takes less memory and more time; the results are equal up to rounding.

    Raises:
      ValueError: a value has the wrong type or is out of range.
    """

    channels: int = 36
    layers: int = 20
    num_classes: int = 10
    auxiliary: bool = True
    drop_path: float = 0.3
    frame: str = "cifar"
    remat: bool = False
    stages: str | None = None

    def __post_init__(self):
        if self.stages is not None:
            kinds = Genotype.kinds
            stages = stages_text("network.stages", self.stages, kinds)
            object.__setattr__(self, "stages", stages)
        check_field_types(self, "network.")
        sizes = {name: (1, most) for name, most in LARGEST_SIZES.items()}
        check_ranges(self, sizes, "network.")
        if not 0 <= self.drop_path < 1:
            raise ValueError(
                f"network.drop_path is {self.drop_path}, but must be a probability "
                f"below 1."
            )
        lookup(FRAMES, self.frame, "frame")
        if self.frame == "imagenet" and self.channels % 2:
            raise ValueError(
                f"network.channels is {self.channels}, but must be even in the "
                f"imagenet frame, whose stem halves them."
            )

        if self.stages is not None:
            self._check_stages()

    def _check_stages(self):
        """Refuses settings that a network of these stages cannot have."""
        try:
            stages = network_stages(self.stages, self.layers)
            ones = dict.fromkeys(Genotype.kinds, 1)
            plan_cells(stages, self.channels, (1, 1), ones)
        except ValueError as error:
            raise ValueError(f"network.{error}") from None
        if self.auxiliary and all(stage.stride == 1 for stage in stages):
            raise ValueError(
                f"The auxiliary head reads the last cell that halves the image, and "
                f"none of the stages {self.stages} does. Leave the head out "
                f"(auxiliary=False; --no-auxiliary)."
            )


def cell_plan(genotype: Genotype, config: NetworkConfig) -> tuple[CellPlan, ...]:
    """Plans the cells of a derived network, first to last.

    Raises:
      ValueError: the configuration cannot have so many cells or channels.
    """
    frame = FRAMES[config.frame]
    states = frame.stem_channels(config.channels)
    older, newer = (states if len(states) > 1 else 2 * states)[-2:]
    outputs = {kind: len(genotype.concat(kind)) for kind in genotype.kinds}
    reduced_before = len(states) > 1 and frame.stem[-1][1] == 2
    stages = network_stages(config.stages, config.layers)
    return plan_cells(stages, config.channels, (older, newer), outputs, reduced_before)


def output_channels(genotype: Genotype, cell: CellPlan) -> int:
    """Channels of the output of a cell."""
    return len(genotype.concat(cell.kind)) * cell.channels
