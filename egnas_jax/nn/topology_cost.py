"""Weights and multiply-adds of the networks of NAS-Bench-201, by arithmetic.

The published figures of the benchmark follow: weights exactly, multiply-adds less one
for each class, since the classifier's bias is none here (`MULTIPLY_ADDS_CONVENTION`).

Dims: C channels.
"""

from egnas_jax.nn.cell_plan import NUM_STAGES, stage_cells, stage_channels
from egnas_jax.nn.cost import PRIMITIVE_CONVOLUTIONS, Convolution
from egnas_jax.space import Topology

CHANNELS, LAYERS = 16, 17  # of the networks that the benchmark trained


def topology_params(
    topology: Topology,
    num_classes: int = 10,
    *,
    channels: int = CHANNELS,
    layers: int = LAYERS,
    image_channels: int = 3,
) -> int:
    """Trained weights of the network of one cell, scales and shifts of norms included.

    Args:
      topology: the cell.
      num_classes: classes.
      channels: C of the first stage.
      layers: cells and residual blocks, 3 N + 2.
      image_channels: channels of the images.
    """
    convolutions = network(topology.primitives, channels, layers, image_channels)
    last = stage_channels(channels, NUM_STAGES - 1)
    norm, classifier = 2 * last, (last + 1) * num_classes
    return sum(conv.params for conv in convolutions) + norm + classifier


def topology_multiply_adds(
    topology: Topology,
    num_classes: int = 10,
    image_size: int = 32,
    *,
    channels: int = CHANNELS,
    layers: int = LAYERS,
    image_channels: int = 3,
) -> int:
    """Multiply-adds of one forward pass of one image; arguments as above, and its side
    in pixels."""
    convolutions = network(topology.primitives, channels, layers, image_channels)
    total = sum(conv.multiply_adds(image_size) for conv in convolutions)
    return total + stage_channels(channels, NUM_STAGES - 1) * num_classes


def network(
    primitives: tuple[str, ...],
    channels: int,
    layers: int,
    image_channels: int,
    partial_channels: int = 1,
) -> list[Convolution]:
    """All convolutions of a network whose cells compute these primitives.

    Args:
      primitives: of all edges of a cell, in any number.
      channels, layers, image_channels: as above.
      partial_channels: only C / k channels go through the primitives.
    """
    convolutions = [Convolution((3, 3), image_channels, channels, (0, 0))]
    for stage in range(NUM_STAGES):
        own = stage_channels(channels, stage)
        if stage:
            convolutions += _block(own // 2, own, stage)
        for name in primitives:
            edge = PRIMITIVE_CONVOLUTIONS[name](own // partial_channels, stage, False)
            convolutions += stage_cells(layers) * edge
    return convolutions


def _block(fan_in, fan_out, after):
    """The residual block whose output was halved `after` times."""
    halved = (after, after)
    return [
        Convolution((3, 3), fan_in, fan_out, halved),
        Convolution((3, 3), fan_out, fan_out, halved),
        Convolution((1, 1), fan_in, fan_out, halved, norm=False),
    ]
