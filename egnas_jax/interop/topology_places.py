"""Names the place of each torch weight of the derived networks of NAS-Bench-201.

The names are those of `TinyNetwork` of its code: "cells" counts cells and residual
blocks, and "layers" the edges of a cell.
"""

from collections.abc import Iterator

from egnas_jax.interop import places
from egnas_jax.interop.places import Place
from egnas_jax.nn.cell_plan import NUM_STAGES, stage_cells, stage_channels
from egnas_jax.nn.network_cell import stacks_of
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import Topology

FIRST_KERNEL = "stem.0.weight"
# torch's name inside a residual block -> our kernel, and our norm
BLOCK = {
    "conv_a.op.1.weight": "first",
    "conv_b.op.1.weight": "second",
    "downsample.1.weight": "shortcut",
}
BLOCK_NORMS = {"conv_a.op.2": "first_norm", "conv_b.op.2": "second_norm"}


def topology_places(topology: Topology, config: NetworkConfig) -> Iterator[Place]:
    """Every weight that the network of a cell may have.

    Args:
      topology: the cell.
      config: the network around it.
    """
    yield Place(FIRST_KERNEL, ("params", "stem", "conv"))
    yield from places.norm("stem.1", ("stem", "norm"), (0,), stats_path=("stem",))
    number, size = 0, stage_cells(config.layers)
    for stage in range(NUM_STAGES):
        if stage:
            yield from _block(f"cells.{number}", ("blocks", stage - 1))
            number += 1
        channels = stage_channels(config.channels, stage)
        for position in range(size):
            prefix = f"cells.{number}.layers"
            yield from _edges(topology, prefix, ("stages", stage), position, channels)
            number += 1
    yield from places.norm("lastact.0", ("norm",), (0,))
    yield from places.classifier("classifier", ("classifier",))


def _block(prefix, path) -> Iterator[Place]:
    for theirs, ours in BLOCK.items():
        yield Place(f"{prefix}.{theirs}", ("params", *path, ours))
    for theirs, ours in BLOCK_NORMS.items():
        yield from places.norm(f"{prefix}.{theirs}", (*path, ours), (0,))


def _edges(topology, prefix, path, position, channels) -> Iterator[Place]:
    """The operations of a cell; `position` is the cell's place in its stage."""
    for stack in stacks_of(topology, "cell"):
        for row, edge in enumerate(stack.edges):
            yield from places.primitive(
                stack.primitive,
                f"{prefix}.{edge}.",
                (*path, stack.name),
                (position, row),
                channels,
            )
