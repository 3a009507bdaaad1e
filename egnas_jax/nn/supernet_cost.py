"""Counts the multiply-adds of a supernet.

Dims: C channels, k of partial channels.
"""

from egnas_jax.nn.cell import out_edges
from egnas_jax.nn.cost import Convolution, Edge, preprocessing
from egnas_jax.nn.supernet_config import SupernetConfig, cells_of
from egnas_jax.nn.topology_cost import topology_parts
from egnas_jax.space import SPACES


def supernet_multiply_adds(
    config: SupernetConfig, image_size: int = 32, *, image_channels: int = 3
) -> int:
    """Multiply-adds of one forward pass of one image under one mixing.

    `nn.cost.MULTIPLY_ADDS_CONVENTION` says what is counted. Every primitive of every
    edge works on C / k channels.

    Args:
      config: the supernet.
      image_size: side of the image, pixels.
      image_channels: channels of the images.
    """
    space, last = SPACES[config.space], cells_of(config)[-1].channels
    if space.family == "topology":
        parts = topology_parts(
            [name for _ in space.edges for name in space.primitives],
            config.channels,
            config.layers,
            image_channels,
            partial_channels=config.partial_channels,
        )
        features = last
    else:
        parts = _darts_parts(config, image_channels)
        features = last * space.num_nodes
    total = sum(part.multiply_adds(image_size) for part in parts)
    return total + features * config.num_classes


def _darts_parts(config, image_channels) -> list[Convolution | Edge]:
    """Everything that counts in a supernet of the DARTS family but its classifier."""
    space, width = SPACES[config.space], config.stem_multiplier * config.channels
    parts: list[Convolution | Edge] = [
        Convolution(
            kernel=(3, 3), fan_in=image_channels, fan_out=width, halvings=(0, 0)
        )
    ]
    halvings = 0
    for cell in cells_of(config):
        parts += preprocessing(cell, halvings)
        active = cell.channels // config.partial_channels
        for outgoing in out_edges(space, cell.reduction):
            before = halvings + (cell.reduction and outgoing.stride == 1)
            for name in space.primitives:
                edge = Edge(name, active, outgoing.stride, before)
                parts += len(outgoing.edges) * [edge]
        halvings += cell.reduction
    return parts
