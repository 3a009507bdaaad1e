"""Reads and writes derived networks (model.py of the DARTS family in torch).

The names of a network of stages are in topology_places.py.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from egnas_jax.interop import places, transfer
from egnas_jax.interop.checkpoints import FIRST_CELL_KERNEL, Note, network_weights
from egnas_jax.interop.places import Place
from egnas_jax.interop.topology_places import FIRST_KERNEL, topology_places
from egnas_jax.nn.network import leaves_of, runs_of
from egnas_jax.nn.network_cell import stacks_of
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import Genotype, Topology
from egnas_jax.types import PyTree

# Torch names of each convolution of the stem and of the norm after it.
STEMS = {
    "cifar": {"stem.0": "stem.1"},
    "imagenet": {"stem0.0": "stem0.1", "stem0.3": "stem0.4", "stem1.1": "stem1.2"},
}


# The first kernel of each frame, by which a network is recognised.
FIRST_KERNELS = {frame: f"{next(iter(stem))}.weight" for frame, stem in STEMS.items()}
ANCHORS = (*FIRST_KERNELS.values(), FIRST_CELL_KERNEL)
OF_SEARCH = re.compile(r"cells\.\d+\._ops\.\d+\._ops\.")


def network_from_torch(
    weights: Mapping[str, Any],
    genotype: Genotype | Topology,
    config: NetworkConfig,
    *,
    log: Note | None = None,
) -> PyTree:
    """Variables of a derived network from the weights of a torch network.

    Args:
      weights: torch parameter and buffer names ("cells.0._ops.0.op.1.weight") ->
        arrays. They include the auxiliary head's if the configuration has one. A
        checkpoint with an entry that holds them is read too, and a prefix that all
        names share, such as `module.`, is left out.
      genotype, config: of the network that the weights belong to.
      log: called with a note on what was left out; None: the logger "egnas_jax" gets
        it as a warning.

    Returns:
      {"params", "batch_stats"} for `make_network(genotype, config).apply`.

    Raises:
      ValueError: the weights are not found in a checkpoint; or a name is missing,
        unexpected or has another shape than the configuration asks for.
    """
    weights = network_weights(weights, ANCHORS, log)
    if any(map(OF_SEARCH.match, weights)):
        raise ValueError(
            "These are the weights of a search network, which holds every primitive of "
            "every edge. Read them by supernet_from_torch, or give those of the "
            "network that was trained from the genotype."
        )
    is_of_stages = genotype.macro == Topology.macro
    first = FIRST_KERNEL if is_of_stages else FIRST_KERNELS[config.frame]
    image_channels = places.image_channels(weights, first)
    leaves = leaves_of(genotype, config, image_channels)
    settings = "the genotype, channels, layers, num_classes, auxiliary and frame"
    return transfer.read(_places(genotype, config), weights, leaves, settings)


def network_to_torch(
    variables: PyTree, genotype: Genotype | Topology, config: NetworkConfig
) -> dict[str, np.ndarray]:
    """The weights of a derived network by torch name, in torch's layout.

    `load_state_dict` of the DARTS family's network accepts them; of NAS-Bench-201's
    `TinyNetwork` for a cell of that benchmark.

    Args:
      variables: {"params", "batch_stats"}.
      genotype, config: of the network that the variables belong to.
    """
    return transfer.write(_places(genotype, config), variables)


def _places(genotype, config: NetworkConfig) -> Iterator[Place]:
    """Every weight that such a network may have."""
    return PLACES[genotype.macro](genotype, config)


def _darts_places(genotype: Genotype, config: NetworkConfig) -> Iterator[Place]:
    """Every weight that a network of the DARTS family may have."""
    for position, (conv, norm) in enumerate(STEMS[config.frame].items()):
        yield Place(f"{conv}.weight", ("params", "stem", position, "conv"))
        yield from places.norm(norm, ("stem", position, "norm"), (0,))
    for run, (plan, indices) in enumerate(runs_of(genotype, config)):
        for position, index in enumerate(indices):
            prefix, path = f"cells.{index}", ("runs", run)
            yield from places.preprocessing(plan, prefix, path, (position, 0))
            yield from _edges(genotype, plan, f"{prefix}._ops", path, position)
    if config.auxiliary:
        yield from _auxiliary()
    yield from places.classifier("classifier", ("classifier",))


def _edges(genotype, plan, prefix, path, position) -> Iterator[Place]:
    """The operations of a cell; `position` is the cell's place in its run."""
    for stack in stacks_of(genotype, plan.kind, plan.reduction):
        for row, edge in enumerate(stack.edges):
            yield from places.primitive(
                stack.primitive,
                f"{prefix}.{edge}.",
                (*path, "edges", stack.name),
                (position, row),
                plan.channels,
            )


def _auxiliary() -> Iterator[Place]:
    head, path = "auxiliary_head", ("auxiliary",)
    yield Place(f"{head}.features.2.weight", ("params", *path, "pointwise"), (0,))
    yield from places.norm(f"{head}.features.3", (*path, "first_norm"), (0,))
    yield Place(f"{head}.features.5.weight", ("params", *path, "conv"))
    yield from places.norm(f"{head}.features.6", (*path, "second_norm"), (0,))
    yield from places.classifier(f"{head}.classifier", (*path, "classifier"))


# macro structure -> the weights of its networks
PLACES = {"darts": _darts_places, "nasbench201": topology_places}
