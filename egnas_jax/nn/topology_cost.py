"""Counts weights and multiply-adds of the networks of NAS-Bench-201.

The counts equal the published numbers of the benchmark, except that the benchmark adds
one multiply-add per class for the classifier's bias (`MULTIPLY_ADDS_CONVENTION`).

Dims: C channels, N cells of a stage.
"""

from collections.abc import Iterable

from egnas_jax.nn.cell_plan import NUM_STAGES, stage_cells, stage_channels
from egnas_jax.nn.cost import Convolution, Edge
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
    """Number of weights of the network of one cell.

    Args:
      topology: the cell.
      num_classes: width of the classifier.
      channels: C of the first stage.
      layers: number of cells and residual blocks, 3 N + 2.
      image_channels: channels of the images.

    Returns:
      Number of weights (not millions), including scales and shifts of norms.
    """
    parts = topology_parts(topology.primitives, channels, layers, image_channels)
    last = stage_channels(channels, NUM_STAGES - 1)
    norm, classifier = 2 * last, (last + 1) * num_classes
    return sum(part.params for part in parts) + norm + classifier


def topology_multiply_adds(
    topology: Topology,
    num_classes: int = 10,
    image_size: int = 32,
    *,
    channels: int = CHANNELS,
    layers: int = LAYERS,
    image_channels: int = 3,
) -> int:
    """Multiply-adds of one forward pass of one image.

    Args:
      topology, num_classes, channels, layers, image_channels: see `topology_params`.
      image_size: side of the image, pixels.

    Returns:
      Multiply-adds (not millions).
    """
    parts = topology_parts(topology.primitives, channels, layers, image_channels)
    total = sum(part.multiply_adds(image_size) for part in parts)
    return total + stage_channels(channels, NUM_STAGES - 1) * num_classes


def topology_parts(
    primitives: Iterable[str],
    channels: int,
    layers: int,
    image_channels: int,
    *,
    partial_channels: int = 1,
) -> list[Convolution | Edge]:
    """Everything that counts in a network of NAS-Bench-201, except its classifier.

    Args:
      primitives: everything that the edges of one cell compute, with repetitions.
      channels, layers, image_channels: see `topology_params`.
      partial_channels: k; only C / k channels go through the primitives.
    """
    parts: list[Convolution | Edge] = [
        Convolution(
            kernel=(3, 3), fan_in=image_channels, fan_out=channels, halvings=(0, 0)
        )
    ]
    primitives = tuple(primitives)
    for stage in range(NUM_STAGES):
        width = stage_channels(channels, stage)
        if stage:
            parts += _block(width // 2, width, stage)
        edges = [Edge(name, width // partial_channels, 1, stage) for name in primitives]
        parts += stage_cells(layers) * edges
    return parts


def _block(fan_in, fan_out, halvings):
    """The convolutions of a residual block; for `halvings` see `Convolution`."""
    halvings = (halvings, halvings)
    return [
        Convolution(kernel=(3, 3), fan_in=fan_in, fan_out=fan_out, halvings=halvings),
        Convolution(kernel=(3, 3), fan_in=fan_out, fan_out=fan_out, halvings=halvings),
        Convolution(
            kernel=(1, 1), fan_in=fan_in, fan_out=fan_out, halvings=halvings, norm=False
        ),
    ]
