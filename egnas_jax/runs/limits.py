"""Completes the limits of a search when its data are loaded; shows what cells cost."""

import dataclasses

from egnas_jax.data.dataset import Dataset
from egnas_jax.nn.costs import Cost, cost
from egnas_jax.runs.search_config import SearchConfig, limit_of
from egnas_jax.space import SPACES, Genotype, Topology
from egnas_jax.strategies.limits.config import Limit


def limit_of_run(config: SearchConfig, dataset: Dataset) -> Limit:
    """Returns the limits with the size of the images.

    Args:
      config: of the search, with the data's number of classes.
      dataset: the loaded data.

    Raises:
      ValueError: the images are not square, and no size is set.
    """
    limit = limit_of(config)
    if not limit.is_set:
        return limit
    height, width, channels = dataset.images.shape[1:]
    if limit.image_size is None and height != width:
        raise ValueError(
            f"The costs that strategy.limit limits are those of square images, and "
            f"these have {height}x{width} pixels. Set strategy.limit.image_size to the "
            f"side that the network will be trained with."
        )
    return dataclasses.replace(
        limit,
        image_size=limit.image_size or height,
        image_channels=limit.image_channels or channels,
    )


def costs_of_run(config: SearchConfig, genotype: Genotype | Topology) -> dict | None:
    """Returns what the genotype costs that a search under limits found.

    Args:
      config: of the search, as it ran.
      genotype: that was found.

    Returns:
      {"limits", "network", "costs"}, or None for a search without limits.
    """
    limit, space = limit_of(config), SPACES[config.supernet.space]
    if not limit.is_set:
        return None
    network = limit.network(space, config.supernet.num_classes)
    counted: Cost = cost(
        genotype,
        network.config,
        image_size=network.image_size,
        image_channels=network.image_channels,
    )
    return {
        "limits": {name: getattr(limit, name) for name in limit.largest},
        "network": {
            **{n: getattr(network.config, n) for n in ("channels", "layers", "frame")},
            "image_size": network.image_size,
            "image_channels": network.image_channels,
        },
        "costs": dataclasses.asdict(counted),
    }
