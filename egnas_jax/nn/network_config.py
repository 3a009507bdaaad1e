"""The network that a genotype is trained in: its configuration and its cells.

Source: model.py of the DARTS family (`NetworkCIFAR`, `NetworkImageNet`).
"""

import dataclasses

from egnas_jax.lookup import lookup
from egnas_jax.nn.cell_plan import CellPlan, plan_cells
from egnas_jax.space import Genotype


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """What a derived network is besides its genotype.

    Attributes:
      channels: C of the first cell; doubled by each of the two reductions.
      layers: cells; those at layers // 3 and 2 * layers // 3 are reductions.
      num_classes: width of the classifier.
      auxiliary: whether a second classifier helps in training.
      drop_path: probability at the last epoch with which a path is dropped; it grows
        from 0.
      frame: "cifar" (one convolution before the cells) or "imagenet" (three, which
        divide the image's side by eight).
      remat: compute a cell's insides again for its gradient instead of keeping them:
        less memory, more time, the same numbers to rounding.

    Raises:
      ValueError: a value of the wrong type or out of range.
    """

    channels: int = 36
    layers: int = 20
    num_classes: int = 10
    auxiliary: bool = True
    drop_path: float = 0.3
    frame: str = "cifar"
    remat: bool = False

    def __post_init__(self):
        for name in ("channels", "layers", "num_classes"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number > 0, got {value!r}.")
        for name in ("auxiliary", "remat"):
            value = getattr(self, name)
            if type(value) is not bool:
                raise ValueError(f"{name} must be True or False, got {value!r}.")
        if type(self.drop_path) not in (int, float) or not 0 <= self.drop_path < 1:
            raise ValueError(
                f"drop_path must be a probability below 1, got {self.drop_path!r}."
            )
        lookup(PLANS, self.frame, "frame")
        if self.frame == "imagenet" and self.channels % 2:
            raise ValueError(
                f"channels must be even in the imagenet frame, whose stem halves "
                f"them; got {self.channels}."
            )


def _cifar_cells(channels, layers, outputs):
    # The stem has three times as many channels as the first cell.
    return plan_cells(channels, layers, (3 * channels, 3 * channels), outputs)


def _imagenet_cells(channels, layers, outputs):
    # The stem hands over two states, the newer one of half the side.
    stem = (channels, channels)
    return plan_cells(channels, layers, stem, outputs, reduced_before=True)


PLANS = {"cifar": _cifar_cells, "imagenet": _imagenet_cells}


def cell_plan(genotype: Genotype, config: NetworkConfig) -> tuple[CellPlan, ...]:
    """The cells of a derived network, first to last."""
    outputs = (len(genotype.normal_concat), len(genotype.reduce_concat))
    return PLANS[config.frame](config.channels, config.layers, outputs)


def output_channels(genotype: Genotype, cell: CellPlan) -> int:
    """Channels that a cell hands to the next ones."""
    return len(genotype.concat(cell.kind)) * cell.channels
