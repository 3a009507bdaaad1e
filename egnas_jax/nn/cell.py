"""One mixed cell: every edge computes all primitives and adds them up, weighted.

The cell is organised by source state, not by edge. All edges that leave a state read
the same rectified and padded array, share the primitives without weights, and run
stacked on one axis; as soon as a node has received its last edge it is the next
source. Partial channels (PC-DARTS) send C/k channels through the primitives and pass
the rest by; since the shuffle of an edge's output is a fixed permutation, it is
applied once to the sum of a node instead of once an edge.

Source: EG-NAS formula (1) of the mixed operation; PC-DARTS (Xu et al., ICLR 2020) for
partial channels and edge weights.

Dims: E edges of the cell, S edges that leave one state, K primitives, C channels.
"""

from typing import NamedTuple

import jax.numpy as jnp

from egnas_jax.nn import lowering
from egnas_jax.nn.precision import wide
from egnas_jax.nn.primitives import PRIMITIVES, Primitive, source_of, with_pool_norm
from egnas_jax.space import Space
from egnas_jax.types import Array, PyTree


class OutEdges(NamedTuple):
    """The edges that leave one state of a cell.

    Attributes:
      edges: their positions on the E axis of a mixing.
      targets: the node each adds to, counted from the first intermediate node.
      stride: 2 where a reduction cell reads its inputs.
    """

    edges: tuple[int, ...]
    targets: tuple[int, ...]
    stride: int


def out_edges(space: Space, reduction: bool) -> tuple[OutEdges, ...]:
    """For every state that has out-edges, in the order in which states complete."""
    by_source = [[] for _ in range(space.num_inputs + space.num_nodes - 1)]
    for edge, (source, target) in enumerate(space.edges):
        by_source[source].append((edge, target - space.num_inputs))
    return tuple(
        OutEdges(*zip(*pairs, strict=True), _stride(space, source, reduction))
        for source, pairs in enumerate(by_source)
    )


def _stride(space: Space, source: int, reduction: bool) -> int:
    return 2 if reduction and source < space.num_inputs else 1


def _primitives(space: Space, pool_bn: bool) -> dict[str, Primitive]:
    make = with_pool_norm if pool_bn else PRIMITIVES.__getitem__
    return {name: make(name) for name in space.primitives}


def init_cell(space: Space, channels: int, reduction: bool, pool_bn: bool):
    """Leaves of a cell whose primitives work on `channels` channels.

    Returns:
      Parameters and statistics: a list over source states of {primitive: leaves},
      without the primitives that have none.
    """
    params, stats = [], []
    for outgoing in out_edges(space, reduction):
        leaves = {
            name: primitive.init(len(outgoing.edges), channels, outgoing.stride, False)
            for name, primitive in _primitives(space, pool_bn).items()
        }
        params.append({name: p for name, (p, _) in leaves.items() if p})
        stats.append({name: s for name, (_, s) in leaves.items() if s})
    return params, stats


def mixed_cell(
    space: Space,
    reduction: bool,
    pool_bn: bool,
    partial_channels: int,
    params: PyTree,
    stats: PyTree,
    inputs: tuple[Array, ...],
    primitives: Array,
    edges: Array,
    train: bool,
    implementation: str = "auto",
) -> tuple[Array, PyTree]:
    """The output of a cell: its intermediate nodes, concatenated, or the last alone.

    Args:
      space, reduction, pool_bn, partial_channels: what is built (static).
      params, stats: of `init_cell`.
      inputs: the preprocessed inputs (one in a topology space), [C, H, W, N].
      primitives: [E, K], the mixing's weights for this kind of cell.
      edges: [E], its edge weights.
      train: batch statistics and moved running ones, or running statistics.
      implementation: of its kernels, a name of `lowering.CHOICES`.

    Returns:
      [nodes * C, H', W', N], [C, H, W, N] in a topology space, and the new statistics.
    """
    table = _primitives(space, pool_bn)
    active = inputs[0].shape[0] // partial_channels
    kernels = lowering.kernels_for(implementation, train, active)
    mixed_sums = [0.0] * space.num_nodes
    bypass_sums = [0.0] * space.num_nodes
    new_stats, states = [], list(inputs)
    for source, outgoing in enumerate(out_edges(space, reduction)):
        if source >= space.num_inputs:
            node = source - space.num_inputs
            sums = mixed_sums[node], bypass_sums[node]
            states.append(_node(*sums, partial_channels, inputs[0].dtype))
        state, here = states[source], jnp.asarray(outgoing.edges)
        weights = primitives[here] * edges[here][:, None]
        mixed, moved = _mixed_edges(
            table,
            params[source],
            stats[source],
            state[:active],
            weights,
            outgoing.stride,
            train,
            kernels,
        )
        bypass = state[active:]
        if outgoing.stride == 2:
            bypass = lowering.halve(bypass, kernels.pooling)
        for position, target in enumerate(outgoing.targets):
            mixed_sums[target] += wide(mixed[position])
            bypass_sums[target] += edges[outgoing.edges[position]] * wide(bypass)
        new_stats.append(moved)
    sums = mixed_sums[-1], bypass_sums[-1]
    last = _node(*sums, partial_channels, inputs[0].dtype)
    if space.family == "topology":
        return last, new_stats
    nodes = [*states[space.num_inputs :], last]
    return jnp.concatenate(nodes), new_stats


def _mixed_edges(table, params, stats, state, weights, stride, train, kernels):
    """Weighted sums of all primitives for the S edges that leave one state.

    Args:
      table: the space's primitives.
      params, stats: of this source.
      state: [C, H, W, N], the active channels.
      weights: [S, K].
      stride, train: as for the cell.
      kernels: `lowering.Kernels`.

    Returns:
      [S, C, H', W', N] and the new statistics.
    """
    source, outputs, new_stats = source_of(state[None]), [], {}
    for position, (name, primitive) in enumerate(table.items()):
        if name == "none":
            continue  # adds zeros
        out, moved = primitive.apply(
            params.get(name, {}), stats.get(name, {}), source, stride, train, kernels
        )
        outputs.append(out.times(weights[:, position, None]))
        if moved:
            new_stats[name] = moved
    total = sum(output.wide() for output in outputs)
    return lowering.materialise(total.astype(state.dtype)), new_stats


def _node(mixed, bypass, partial_channels: int, dtype) -> Array:
    """Joins the two sums of a node and shuffles its channels across k groups."""
    mixed, bypass = mixed.astype(dtype), bypass.astype(dtype)
    if partial_channels == 1:
        return lowering.materialise(mixed)
    active, *pixels = mixed.shape
    passed = bypass.reshape(partial_channels - 1, active, *pixels)
    shuffled = jnp.stack([mixed, *passed], axis=1)  # [C / k, k, H, W, N]
    return lowering.materialise(shuffled.reshape(-1, *pixels))
