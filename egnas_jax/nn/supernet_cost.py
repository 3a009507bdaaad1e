"""Multiply-adds of a supernet, by arithmetic.

Dims: C channels, k of partial channels.
"""

from egnas_jax.nn.cell import out_edges
from egnas_jax.nn.cost import PRIMITIVE_CONVOLUTIONS, Convolution, preprocessing
from egnas_jax.nn.supernet import SupernetConfig, cells_of
from egnas_jax.nn.topology_cost import network
from egnas_jax.space import SPACES


def supernet_multiply_adds(
    config: SupernetConfig, image_size: int = 32, *, image_channels: int = 3
) -> int:
    """Multiply-adds of one forward pass of one image under one mixing.

    What counts is `nn.cost.MULTIPLY_ADDS_CONVENTION`; every primitive of every edge
    works on C / k channels.

    Args:
      config: of the supernet.
      image_size: side of the image, pixels.
      image_channels: channels of the images.
    """
    space, stem = SPACES[config.space], config.stem_multiplier * config.channels
    if space.family == "topology":
        convolutions = network(
            space.num_edges * space.primitives,
            config.channels,
            config.layers,
            image_channels,
            config.partial_channels,
        )
        total = sum(conv.multiply_adds(image_size) for conv in convolutions)
        return total + cells_of(config)[-1].channels * config.num_classes
    convolutions = [Convolution((3, 3), image_channels, stem, (0, 0))]
    after = 0
    for cell in cells_of(config):
        convolutions += preprocessing(cell, after)
        after += cell.reduction
        active = cell.channels // config.partial_channels
        for outgoing in out_edges(space, cell.reduction):
            for primitive in space.primitives:
                own = PRIMITIVE_CONVOLUTIONS[primitive](
                    active, after, outgoing.stride == 2
                )
                convolutions += len(outgoing.edges) * own
    features = cells_of(config)[-1].channels * space.num_nodes
    total = sum(conv.multiply_adds(image_size) for conv in convolutions)
    return total + features * config.num_classes
