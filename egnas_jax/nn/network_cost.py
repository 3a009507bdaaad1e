"""Counts weights and multiply-adds of the network of any genotype.

The networks of the DARTS family are counted in cost.py, those of stages in
topology_cost.py.
"""

import dataclasses
from typing import Any

from egnas_jax.nn import cost, topology_cost
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.settings import check_whole
from egnas_jax.space import Genotype, Topology
from egnas_jax.space.stages import nearest_layers

# macro structure -> the network of the published tables: DARTS's on CIFAR-10, and those
# that NAS-Bench-201 trained
PUBLISHED = {
    Genotype.macro: NetworkConfig(),
    Topology.macro: NetworkConfig(
        channels=topology_cost.CHANNELS,
        layers=topology_cost.LAYERS,
        auxiliary=False,
        drop_path=0.0,
    ),
}


def published_network(
    macro: str, stages: str | None = None, **sizes: Any
) -> NetworkConfig:
    """Returns the network of the published tables.

    Args:
      macro: macro structure, of a space or a genotype.
      stages: of the space, if it has a list: then the network has these, with about as
        many cells, and no auxiliary head.
      **sizes: fields that are others than in the tables.

    Raises:
      ValueError: the stages cannot have such channels or layers.
    """
    network = PUBLISHED[macro]
    if stages is not None:
        layers = nearest_layers(stages, network.layers)
        sizes = {"stages": stages, "layers": layers, "auxiliary": False, **sizes}
    return dataclasses.replace(network, **sizes)


def published_params(
    genotype: Genotype | Topology, stages: str | None, num_classes: int
) -> int:
    """Returns the number of weights of a genotype's network in the published tables.

    Args:
      genotype: the cells.
      stages: of the space, see `published_network`.
      num_classes: of the network.
    """
    network = published_network(genotype.macro, stages, num_classes=num_classes)
    return count_params(genotype, network)


def count_params(
    genotype: Genotype | Topology,
    config: NetworkConfig,
    *,
    auxiliary: bool = False,
    image_channels: int = 3,
) -> int:
    """Number of weights of the network of a genotype.

    Args:
      genotype: the cells.
      config: the network around the cells.
      auxiliary: whether to count the auxiliary head, which published sizes leave out.
      image_channels: channels of the images.

    Returns:
      Number of weights (not millions), including batch norm's scales and shifts.

    Raises:
      ValueError: the channels of the images are not a positive whole number.

    Source: `count_parameters_in_MB` of the DARTS family, which counts millions.
    """
    check_whole("image_channels", image_channels, 1)
    if genotype.macro == Topology.macro:
        return topology_cost.topology_params(
            genotype,
            config.num_classes,
            channels=config.channels,
            layers=config.layers,
            image_channels=image_channels,
        )
    return cost.count_params(
        genotype, config, auxiliary=auxiliary, image_channels=image_channels
    )


def multiply_adds(
    genotype: Genotype | Topology,
    config: NetworkConfig,
    image_size: int = 32,
    *,
    image_channels: int = 3,
) -> int:
    """Multiply-adds of one forward pass of one image.

    Convolutions and the classifier count; batch norm, pooling, additions and the
    auxiliary head do not (`cost.MULTIPLY_ADDS_CONVENTION`).

    Args:
      genotype: the cells.
      config: the network around the cells.
      image_size: side of the image, pixels. Where an odd side is halved, it is rounded
        up, in factorised reductions too.
      image_channels: channels of the images.

    Returns:
      Multiply-adds (not millions). FLOPs are about twice that.

    Raises:
      ValueError: the side or the channels of the image are not a positive whole
        number.

    Source: the "+x" column of the ImageNet tables since DARTS (Liu et al., 2019).
    """
    check_whole("image_size", image_size, 1)
    check_whole("image_channels", image_channels, 1)
    if genotype.macro == Topology.macro:
        return topology_cost.topology_multiply_adds(
            genotype,
            config.num_classes,
            image_size,
            channels=config.channels,
            layers=config.layers,
            image_channels=image_channels,
        )
    return cost.multiply_adds(
        genotype, config, image_size, image_channels=image_channels
    )
