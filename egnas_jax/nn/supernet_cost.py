"""Counts the multiply-adds of a supernet, by arithmetic.

Dims: C channels, k of partial channels.
"""

from egnas_jax.nn.cell import out_edges
from egnas_jax.nn.cost import PRIMITIVE_CONVOLUTIONS, Convolution, preprocessing
from egnas_jax.nn.supernet_config import SupernetConfig, cells_of
from egnas_jax.nn.topology_cost import topology_convolutions
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
    if space.macro == "nasbench201":
        convolutions = topology_convolutions(
            [name for _ in space.edges for name in space.primitives],
            config.channels,
            config.layers,
            image_channels,
            partial_channels=config.partial_channels,
        )
        features = last
    else:
        convolutions = _darts_convolutions(config, image_channels)
        features = last * len(space.output_nodes)
    total = sum(conv.multiply_adds(image_size) for conv in convolutions)
    return total + features * config.num_classes


def _darts_convolutions(config, image_channels) -> list[Convolution]:
    """All convolutions of a supernet of the DARTS family."""
    space, width = SPACES[config.space], config.stem_multiplier * config.channels
    convolutions, halvings = (
        [
            Convolution(
                kernel=(3, 3), fan_in=image_channels, fan_out=width, halvings=(0, 0)
            )
        ],
        0,
    )
    for cell in cells_of(config):
        convolutions += preprocessing(cell, halvings)
        halvings += cell.reduction
        active = cell.channels // config.partial_channels
        for outgoing in out_edges(space, cell.reduction):
            strided = outgoing.stride == 2
            for name in space.primitives:
                edge = PRIMITIVE_CONVOLUTIONS[name](active, halvings, strided)
                convolutions += len(outgoing.edges) * edge
    return convolutions
