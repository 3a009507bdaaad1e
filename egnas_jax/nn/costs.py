"""Counts what the network of a cell costs: weights, multiply-adds and activations."""

import dataclasses

from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.network_cost import (
    count_params,
    multiply_adds,
    published_network,
)
from egnas_jax.nn.peak_memory import peak_activation_bytes
from egnas_jax.space import Genotype, Space, Topology, derive
from egnas_jax.types import Mixing


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the network of a cell costs; the auxiliary head is not counted.

    Attributes:
      params: number of weights, with scales and shifts of norms.
      multiply_adds: of one image, see `nn.cost.MULTIPLY_ADDS_CONVENTION`.
      peak_activation_bytes: the most that the activations of one image take in
        evaluation, by the rule of `nn.peak_memory`.
    """

    params: int
    multiply_adds: int
    peak_activation_bytes: int


def cost(
    architecture: Genotype | Topology | Mixing,
    network: NetworkConfig | None = None,
    *,
    image_size: int = 32,
    image_channels: int = 3,
    space: Space | None = None,
) -> Cost:
    """Counts what a network costs that is built of an architecture.

    Args:
      architecture: a genotype, or a mixing, whose derived genotype is counted: it is
        the network that would be trained. (`edge_costs.EdgeCosts` has the expected
        cost of a mixing.)
      network: the network around the cells; None: that of the published tables, which
        is `NetworkConfig()`, and for a topology 16 channels and 17 layers. Where it has
        no stages, it has those of `space`, if that has a list of them.
      image_size: side of the image, pixels.
      image_channels: channels of the images.
      space: of a mixing; None for a genotype.

    Raises:
      ValueError: a mixing without a space, or a genotype with one; a network whose
        layers the stages cannot have; or a topology and a network with stages.

    Example:
      >>> from egnas_jax import zoo, cost
      >>> cost(zoo["DARTS_V2"].genotype).params
      3349342
    """
    genotype = genotype_of(architecture, space)
    network = _network_of(genotype, network, None if space is None else space.stages)
    return Cost(
        count_params(genotype, network, image_channels=image_channels),
        multiply_adds(genotype, network, image_size, image_channels=image_channels),
        peak_activation_bytes(genotype, network, image_size),
    )


def _network_of(genotype, network, stages) -> NetworkConfig:
    """The network that is counted, with the stages of the space if it names none."""
    if network is None:
        return published_network(genotype.macro, stages)
    if network.stages is None and stages is not None:
        # the head is not counted, and some lists have no place for it
        return dataclasses.replace(network, stages=stages, auxiliary=False)
    if network.stages is not None and genotype.macro == Topology.macro:
        raise ValueError(
            f"The network has the stages {network.stages}, but a list of stages is one "
            f"of cells with two inputs, and {genotype.format()} has one. Give a "
            f"NetworkConfig without stages."
        )
    return network


def genotype_of(
    architecture: Genotype | Topology | Mixing, space: Space | None
) -> Genotype | Topology:
    """Returns a genotype as it is, and the derived genotype of a mixing.

    Raises:
      ValueError: something else, a mixing without a space, or a genotype with one.
    """
    if not isinstance(architecture, Genotype | Topology | Mixing):
        raise ValueError(
            f"Got {str(architecture)[:80]!r}. Give a Genotype, a Topology, or a Mixing "
            f"with its space; eg.read_genotype reads texts, files and names."
        )
    if isinstance(architecture, Mixing) == (space is None):
        raise ValueError(
            f"Got {type(architecture).__name__} with space={space and space.name}. A "
            f"mixing needs the space of its edges, and a genotype needs none."
        )
    return architecture if space is None else derive(space, architecture)
