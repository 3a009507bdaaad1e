"""Computes one mixed cell: every edge is the weighted sum of all its primitives.

The cell is organised by source state, not by edge. All edges that leave a state read
the same rectified and padded array, share the primitives without weights, and run
stacked on one axis. As soon as a node has received its last edge, it is the next source
state. Partial channels (PC-DARTS) send C / k channels through the primitives and pass
the others by. The shuffle of an edge's output is a fixed permutation, so it is applied
once to the sum of a node instead of once per edge.

Source: EG-NAS formula (1) of the mixed operation; PC-DARTS (Xu et al., ICLR 2020) for
partial channels and edge weights.

Dims: E edges of the cell, K primitives, C channels, k of partial channels, H, W sides,
N images.
"""

import jax.numpy as jnp

from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.cell_spec import CellSpec, live_positions, out_edges
from egnas_jax.nn.drawing_keys import within
from egnas_jax.nn.mixed_edges import edges_of
from egnas_jax.nn.precision import wide
from egnas_jax.nn.skip_dropout import SkipDropout
from egnas_jax.types import Array, Key, Mixing, PyTree


def init_cell(spec: CellSpec, channels: int) -> tuple[PyTree, PyTree]:
    """Leaves of a cell.

    Args:
      spec: the cell.
      channels: C of its nodes.

    Returns:
      Parameters and batch_stats: each a list over source states of {primitive:
      leaves}, without the primitives that have none.
    """
    active = channels // spec.partial_channels
    params, stats = [], []
    primitives = spec.primitives
    for outgoing in out_edges(spec.space, spec.reduction):
        leaves = {
            name: primitives[name].init(len(where), active, outgoing.stride, False)
            for name, where in live_positions(spec, outgoing).items()
        }
        params.append({name: p for name, (p, _) in leaves.items() if p})
        stats.append({name: s for name, (_, s) in leaves.items() if s})
    return params, stats


def mixed_cell(
    spec: CellSpec,
    variables: tuple[PyTree, PyTree],
    inputs: tuple[Array, ...],
    mixing: Mixing,
    *,
    train: bool,
    implementation: str = "auto",
    factors: Array | None = None,
    skips: SkipDropout | None = None,
    key: Key | None = None,
) -> tuple[Array, PyTree]:
    """Computes the output of a cell.

    Args:
      spec: the cell.
      variables: parameters and batch_stats, arrays that `init_cell` describes.
      inputs: the preprocessed inputs, [C, H, W, N], as many as the space has.
      mixing: weights of the primitives [E, K] and of the edges [E] by kind of cell.
      train: whether norms use the batch's statistics and update the running ones.
      implementation: a key of `lowering.CHOICES`.
      factors: of each edge and image, [E, N] (see `drop_path.edge_factors`); None: 1.
      skips: drops elements behind the skips of stride 1; None: drops none.
      key: of the cell, by which primitives draw; None where none does.

    Returns:
      The output and the new batch_stats. The output is the last node, or all
      intermediate nodes concatenated, [nodes * C, H', W', N]: the space decides.
    """
    (params, stats), space = variables, spec.space
    edge_weights = mixing.edges[spec.kind]
    active = inputs[0].shape[0] // spec.partial_channels
    kernels = lowering.kernels_for(implementation, train, active)
    if intermediates.is_read():  # other lowerings merge layers
        kernels = lowering.LOWERINGS["shifted"]
    mixed_sums, bypass_sums = [0.0] * space.num_nodes, [0.0] * space.num_nodes
    states, new_stats = list(inputs), []

    def node(index: int) -> Array:
        sums = mixed_sums[index], bypass_sums[index]
        return _shuffled_node(*sums, spec.partial_channels, inputs[0].dtype)

    for source, outgoing in enumerate(out_edges(space, spec.reduction)):
        if source >= space.num_inputs:
            states.append(node(source - space.num_inputs))
        if not outgoing.edges:
            new_stats.append({})
            continue
        state, edges = states[source], jnp.asarray(outgoing.edges)
        weights = mixing.primitives[spec.kind][edges] * edge_weights[edges][:, None]
        mixed, source_stats = edges_of(spec, outgoing)(
            (params[source], stats[source]),
            state[:active],
            weights,
            train=train,
            kernels=kernels,
            skips=None if skips is None else skips.within(source),
            key=within(key, source),
        )
        bypass = state[active:]
        if outgoing.stride == 2:
            bypass = lowering.halve(bypass, kernels.pooling)
        pairs = zip(outgoing.edges, outgoing.targets, strict=True)
        for position, (edge, target) in enumerate(pairs):
            mixed_sums[target] += _kept(wide(mixed[position]), factors, edge)
            passed = _kept(wide(bypass), factors, edge)
            bypass_sums[target] += edge_weights[edge] * passed
        new_stats.append(source_stats)
    last = node(-1)
    if space.output == "last":
        return last, new_stats
    return jnp.concatenate([*states[space.num_inputs :], last]), new_stats


def _kept(output, factors, edge):
    """The output of an edge [C, H, W, N], times the factor of each image."""
    return output if factors is None else factors[edge][None, None, None] * output


def _shuffled_node(mixed, bypass, partial_channels: int, dtype) -> Array:
    """Joins the two sums of a node and shuffles its channels across k groups."""
    mixed, bypass = mixed.astype(dtype), bypass.astype(dtype)
    if partial_channels == 1:
        return lowering.materialise(mixed)
    active, *pixels = mixed.shape
    groups = bypass.reshape(partial_channels - 1, active, *pixels)
    shuffled = jnp.stack([mixed, *groups], axis=1)  # [C / k, k, H, W, N]
    return lowering.materialise(shuffled.reshape(-1, *pixels))
