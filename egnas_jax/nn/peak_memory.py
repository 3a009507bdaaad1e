"""Counts the activations of a derived network that are held at once.

The rule: one image in evaluation, and arrays of float32. While a cell runs, these are
held: the newer of its inputs, because the next cell reads it too; every preprocessed
input and node that an edge has yet to read, or that belongs to the output; the node
that is being summed; and the output of one edge, before it is added. Before that, the
cell's inputs are held beside both preprocessed ones; after that, the output nodes
beside their concatenation. Arrays inside a primitive are not counted, nor are weights.

XLA fuses some of these arrays away and keeps others longer, and its kernels need room
of their own. docs/costs.md says how far it is from this rule.

Dims: C channels, S side.
"""

from collections.abc import Iterator, Sequence

from egnas_jax.nn.cell_plan import NUM_STAGES, CellPlan, stage_channels
from egnas_jax.nn.network_config import FRAMES, NetworkConfig, cell_plan
from egnas_jax.space import Genotype, Topology

BYTES = 4  # of a float32


def peak_activation_bytes(
    genotype: Genotype | Topology, config: NetworkConfig, image_size: int = 32
) -> int:
    """Returns the largest number of bytes that the activations of one image take.

    Args:
      genotype: the cells.
      config: the network around the cells.
      image_size: side of the image, pixels.
    """
    if genotype.macro == Topology.macro:
        elements = _stages(genotype, config, image_size)
    else:
        elements = _cells(genotype, config, image_size)
    return BYTES * max(elements)


def _cells(genotype, config, image_size) -> Iterator[int]:
    """Elements that are held in the cells of a network of the DARTS family."""
    side, older_side = image_size, image_size
    for _, stride in FRAMES[config.frame].stem:
        older_side, side = side, -(-side // stride)
    for cell in cell_plan(genotype, config):
        yield from _cell(genotype, cell, older_side, side)
        older_side, side = side, -(-side // 2) if cell.reduction else side


def _cell(
    genotype: Genotype, cell: CellPlan, older_side: int, side: int
) -> Iterator[int]:
    """Elements that are held in one cell, step by step."""
    older, newer = cell.inputs
    older, newer = older * older_side**2, newer * side**2
    read = cell.channels * side**2
    after = -(-side // 2) if cell.reduction else side
    node = cell.channels * after**2
    yield older + newer + 2 * read
    sources = [[s for _, s in pairs] for pairs in genotype.blocks(cell.kind)]
    outputs = genotype.concat(cell.kind)
    yield from (newer + held for held in _nodes(sources, [read, read], node, outputs))
    yield newer + 2 * len(outputs) * node


def _nodes(
    sources: Sequence[Sequence[int]],
    inputs: Sequence[int],
    node: int,
    outputs: Sequence[int],
) -> Iterator[int]:
    """Elements that are held while each node is summed.

    Args:
      sources: of the edges of each node.
      inputs: elements of each input.
      node: elements of a node.
      outputs: nodes that are held to the end.
    """
    sizes = [*inputs, *len(sources) * [node]]
    for index in range(len(sources)):
        later = {source for edges in sources[index:] for source in edges}
        states = range(len(inputs) + index)
        held = [sizes[s] for s in states if s in later or s in outputs]
        yield sum(held) + 2 * node


def _stages(topology, config, image_size) -> Iterator[int]:
    """Elements that are held in the stages of a network of a topology."""
    sources: list[list[int]] = [[] for _ in range(topology.edges[-1][1])]
    for name, source, target in topology.edges_of():
        if name != "none":
            sources[target - 1].append(source)
    for stage in range(NUM_STAGES):
        side = -(-image_size // 2**stage)
        state = stage_channels(config.channels, stage) * side**2
        if stage:  # a residual block: its input, its two convolutions and the shortcut
            before = stage_channels(config.channels, stage - 1)
            yield before * (-(-image_size // 2 ** (stage - 1))) ** 2 + 2 * state
        yield from _nodes(sources, [state], state, [len(sources)])
