"""Completes the limits of a search when its data are loaded; shows what cells cost."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from egnas_jax.nn.costs import Cost, cost
from egnas_jax.runs.plugins import identity_of_primitives
from egnas_jax.runs.search_config import SearchConfig, limit_of
from egnas_jax.space import SPACES, Genotype, Space, Topology
from egnas_jax.storage import records
from egnas_jax.strategies.limits import costs as limit_costs
from egnas_jax.strategies.limits.config import NANOSECONDS, Limit
from egnas_jax.training.latency_table import latency_costs

# of what summary.json holds
NETWORK = ("channels", "layers", "frame", "num_classes", "stages")


def limit_of_run(
    config: SearchConfig,
    image_shape: tuple[int, ...],
    folder: pathlib.Path | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> Limit:
    """Returns the limits with the size of the images and the table of latencies.

    Args:
      config: of the search, with the data's number of classes.
      image_shape: (H, W, C) of the images.
      folder: run directory, whose table is used where it has one, so that a resumed
        search keeps the limit of its first epochs; or None.
      log: called with a note before latencies are measured.

    Raises:
      ValueError: the images are not square, and no size is set; or there can be no
        table of latencies.
    """
    limit = limit_of(config)
    if not limit.is_set:
        return limit
    height, width, channels = image_shape
    if limit.image_size is None and height != width:
        raise ValueError(
            f"The costs that strategy.limit limits are those of square images, and "
            f"these have {height}x{width} pixels. Set strategy.limit.image_size to the "
            f"side that the network will be trained with."
        )
    limit = dataclasses.replace(
        limit,
        image_size=limit.image_size or height,
        image_channels=limit.image_channels or channels,
    )
    if limit.latency_ms is None or limit.latencies is not None:
        return limit
    stored = _stored_latencies(folder)
    if stored is not None:
        return dataclasses.replace(limit, latencies=stored)
    space = SPACES[config.supernet.space]
    return with_latencies(limit, space, config.supernet.num_classes, log=log)


def with_latencies(
    limit: Limit,
    space: Space,
    num_classes: int,
    *,
    log: Callable[[str], None] = lambda text: None,
) -> Limit:
    """Returns the limits with the table of this device, which is measured if need be.

    Args:
      limit: the limits with the network and its images.
      space: of the cells.
      num_classes: of the data.
      log: called with a note before latencies are measured.

    Raises:
      ValueError: the space has no table, or there are several processes, which would
        measure different ones.
    """
    if jax.process_count() > 1:
        raise ValueError(
            "strategy.limit.latency_ms is measured by one process, and this search has "
            "several. Limit params or multiply_adds instead."
        )
    network = limit.network(space, num_classes)
    plugins = identity_of_primitives(space)
    size = limit.batch_size
    table = latency_costs(space, network, size, plugins=plugins, log=log)
    numbers = table.base, *table.edges.ravel().tolist()
    return dataclasses.replace(limit, latencies=numbers)


def _stored_latencies(folder: pathlib.Path | None) -> tuple[int, ...] | None:
    """The table in the configuration of a run that is gone on with, or None."""
    path = None if folder is None else folder / "config.json"
    if path is None or not path.is_file():
        return None
    strategy = records.read_object(path).get("strategy", {})
    numbers = (strategy.get("limit") or {}).get("latencies")
    return None if numbers is None else tuple(numbers)


def costs_of_run(config: SearchConfig, genotype: Genotype | Topology) -> dict | None:
    """Returns what the genotype costs that a search under limits found.

    Args:
      config: of the search, as it ran.
      genotype: the genotype that was found.

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
            **{name: getattr(network.config, name) for name in NETWORK},
            "image_size": network.image_size,
            "image_channels": network.image_channels,
        },
        "costs": dataclasses.asdict(counted) | _predicted(limit, space, genotype),
    }


def _predicted(limit: Limit, space: Space, genotype: Genotype | Topology) -> dict:
    """The latency of a genotype by the table of a limit, in milliseconds."""
    if limit.latencies is None:
        return {}
    costs = limit_costs.latency_costs(space, limit)
    chosen = np.zeros(costs.edges.shape, bool)
    for kind, name in enumerate(space.kinds):
        for primitive, *edge in genotype.edges_of(name):
            place = space.edges.index(tuple(edge)), space.primitives.index(primitive)
            chosen[kind, *place] = True
    return {"latency_ms": costs.of_choices(chosen) / NANOSECONDS}
