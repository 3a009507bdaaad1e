"""Counts the multiply-adds of a supernet.

Dims: C channels, k of partial channels.
"""

from egnas_jax.nn.cell_spec import out_edges
from egnas_jax.nn.cost import Convolution, Edge, preprocessing
from egnas_jax.nn.supernet_config import SupernetConfig, cells_of, live_primitives
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
    if space.macro == "nasbench201":
        (kind,) = space.kinds
        parts = topology_parts(
            [name for names in _names_of_edges(config, kind) for name in names],
            config.channels,
            config.layers,
            image_channels,
            partial_channels=config.partial_channels,
        )
        features = last
    else:
        parts = _darts_parts(config, image_channels)
        features = last * len(space.output_nodes)
    total = sum(part.multiply_adds(image_size) for part in parts)
    return total + features * config.num_classes


def _darts_parts(config, image_channels) -> list[Convolution | Edge]:
    """What counts in a supernet of the DARTS family, except its classifier."""
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
        names_of_edges = _names_of_edges(config, cell.kind)
        for outgoing in out_edges(space, cell.reduction):
            before = halvings + (cell.reduction and outgoing.stride == 1)
            for edge in outgoing.edges:
                parts += [
                    Edge(name, active, outgoing.stride, before)
                    for name in names_of_edges[edge]
                ]
        halvings += cell.reduction
    return parts


def _names_of_edges(config: SupernetConfig, kind: str) -> list[tuple[str, ...]]:
    """The primitives that each edge of a kind of cell has."""
    space, live = SPACES[config.space], live_primitives(config, kind)
    if live is None:
        return [space.primitives] * space.num_edges
    return [tuple(space.primitives[k] for k in positions) for positions in live]
