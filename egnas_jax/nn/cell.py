"""Computes one mixed cell: every edge is the weighted sum of all its primitives.

The cell is organised by source state, not by edge. All edges that leave a state read
the same rectified and padded array, share the primitives without weights, and run
stacked on one axis. As soon as a node has received its last edge, it is the next source
state. Partial channels (PC-DARTS) send C / k channels through the primitives and pass
the others by. The shuffle of an edge's output is a fixed permutation, so it is applied
once to the sum of a node instead of once per edge.

Source: EG-NAS formula (1) of the mixed operation; PC-DARTS (Xu et al., ICLR 2020) for
partial channels and edge weights.

Dims: E edges of the cell, S edges that leave one state, K primitives, C channels,
k of partial channels, H, W sides, N images.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.drawing_keys import edge_keys, within
from egnas_jax.nn.joint_blocks import joint_blocks
from egnas_jax.nn.layers import Affine
from egnas_jax.nn.precision import wide
from egnas_jax.nn.primitive import EdgeKernel, source_of
from egnas_jax.nn.primitives import kernel_of
from egnas_jax.nn.skip_dropout import SkipDropout, drop_elements
from egnas_jax.space import Space
from egnas_jax.types import Array, Key, Mixing, PyTree


class CellSpec(NamedTuple):
    """What a mixed cell is, apart from its channels and its arrays.

    Attributes:
      space: the space, which has the nodes, edges and primitives.
      kind: the key into a mixing, such as "normal".
      partial_channels: k; C / k channels go through the primitives.
      pool_bn: whether poolings are followed by a norm.
      live: of each edge, the positions of the primitives that it has, ascending; None:
        every edge has all.
      halves: whether the cell halves the image; None: as `reduce` cells of DARTS do.
    """

    space: Space
    kind: str
    partial_channels: int
    pool_bn: bool
    live: tuple[tuple[int, ...], ...] | None = None
    halves: bool | None = None

    @property
    def reduction(self) -> bool:
        """Whether the cell halves the image."""
        return self.kind == "reduce" if self.halves is None else self.halves

    @property
    def primitives(self) -> dict[str, EdgeKernel]:
        """The primitives of an edge, by name and in the order of the space."""
        return {name: kernel_of(name, self.pool_bn) for name in self.space.primitives}


class OutEdges(NamedTuple):
    """The edges that leave one state of a cell.

    Attributes:
      edges: their positions on the E axis of a mixing.
      targets: the node that each edge adds to, counted from the first intermediate one.
      stride: 2 where a reduction cell reads its inputs, else 1.
    """

    edges: tuple[int, ...]
    targets: tuple[int, ...]
    stride: int


def out_edges(space: Space, reduction: bool) -> tuple[OutEdges, ...]:
    """The out-edges of every state except the last, in the order of the states."""
    by_source = [[] for _ in range(space.num_inputs + space.num_nodes - 1)]
    for edge, (source, target) in enumerate(space.edges):
        by_source[source].append((edge, target - space.num_inputs))
    return tuple(
        OutEdges(
            edges=tuple(edge for edge, _ in pairs),
            targets=tuple(target for _, target in pairs),
            stride=_stride(space, source, reduction),
        )
        for source, pairs in enumerate(by_source)
    )


def _stride(space: Space, source: int, reduction: bool) -> int:
    return 2 if reduction and source < space.num_inputs else 1


def live_positions(spec: CellSpec, outgoing: OutEdges) -> dict[str, tuple[int, ...]]:
    """Returns name of a primitive -> which of the edges that leave a state have it.

    Primitives that none of them has are left out.
    """
    edges = range(len(outgoing.edges))
    if not edges:
        return {}
    if spec.live is None:
        return dict.fromkeys(spec.space.primitives, tuple(edges))
    names = spec.space.primitives
    positions = {
        name: tuple(i for i in edges if k in spec.live[outgoing.edges[i]])
        for k, name in enumerate(names)
    }
    return {name: where for name, where in positions.items() if where}


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
        mixed, source_stats = _edges_of(spec, outgoing)(
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


def _edges_of(spec: CellSpec, outgoing: OutEdges) -> Callable:
    """The function that computes some edges: `_mixed_edges` of a cell."""
    if spec.live is not None:
        return functools.partial(_pruned_edges, (spec, outgoing))
    return functools.partial(_mixed_edges, spec.primitives, stride=outgoing.stride)


def _mixed_edges(
    primitives,
    variables,
    state,
    weights,
    *,
    stride,
    kernels,
    train,
    skips=None,
    key=None,
):
    """Weighted sums of all primitives on the S edges that leave one state.

    Args:
      primitives: the primitives by name.
      variables: parameters and batch_stats of this source state.
      state: [C, H, W, N], the active channels.
      weights: [S, K].
      stride, kernels, train: see `EdgeApply`.
      skips, key: see `mixed_cell`, for this state.

    Returns:
      [S, C, H', W', N] and the new batch_stats.
    """
    single = functools.partial(
        _single_edges, primitives, stride=stride, skips=skips, train=train, key=key
    )
    arguments = variables, state, weights
    has_fused = any(primitive.fused for primitive in primitives.values())
    if kernels.depthwise != "fused" or not has_fused:
        return single(*arguments, kernels=kernels)
    # The kernels of this lowering have no gradients.
    shifted = functools.partial(single, kernels=lowering.LOWERINGS["shifted"])
    if skips is not None or key is not None:
        return shifted(*arguments)
    fused = functools.partial(_fused_edges, primitives, stride=stride, train=train)
    return lowering.without_gradient(fused, shifted)(*arguments)


def _fused_edges(primitives, variables, state, weights, *, stride, train):
    """`_mixed_edges` by the fused kernels, one by one where a primitive has none."""
    # Importing Pallas takes a fifth of the time that this package takes.
    from egnas_jax.nn.fused_edges import fused_edges

    fused = {name: p for name, p in primitives.items() if p.fused}
    names, options = list(primitives), {"stride": stride, "train": train}
    columns = {name: weights[:, names.index(name)] for name in fused}
    total, new_stats = fused_edges(fused, variables, state, columns, **options)
    others = {name: p for name, p in primitives.items() if name not in fused}
    if set(others) <= {"none"}:
        return total, new_stats
    used = weights[:, np.array([names.index(name) for name in others])]
    kernels = lowering.LOWERINGS["shifted"]
    rest, other_stats = _single_edges(
        others, variables, state, used, kernels=kernels, **options
    )
    total = (wide(total) + wide(rest)).astype(state.dtype)
    return total, new_stats | other_stats


def _single_edges(
    primitives,
    variables,
    state,
    weights,
    *,
    stride,
    kernels,
    train,
    skips=None,
    key=None,
):
    """`_mixed_edges` primitive by primitive."""
    source, outputs, new_stats = source_of(state[None]), [], {}
    columns = dict(zip(primitives, weights.T, strict=True))
    joint = {
        name: primitive.blocks
        for name, primitive in primitives.items()
        if primitive.blocks and kernels.depthwise == "matrix"
    }
    total = 0.0
    if joint:
        total, new_stats = joint_blocks(
            joint, variables, source.rectified, columns, stride=stride, train=train
        )
    options = {"stride": stride, "train": train, "kernels": kernels}
    for name, primitive in primitives.items():
        if name == "none" or name in joint:
            continue  # `none` adds zeros
        with intermediates.weighted(columns[name]):
            output, primitive_stats = _applied(
                name,
                primitive,
                variables,
                source,
                skips=skips,
                key=key,
                edges=range(len(weights)),
                **options,
            )
        outputs.append(output.times(columns[name][:, None]))
        if primitive_stats:
            new_stats[name] = primitive_stats
    total += sum(output.wide() for output in outputs)
    return lowering.materialise(total.astype(state.dtype)), new_stats


def _pruned_edges(place, variables, state, weights, *, train, kernels, skips, key):
    """Weighted sums of the primitives that each of the S edges has, as a list.

    Args:
      place: the cell and the edges.
      variables, state, weights, train, kernels, skips, key: see `_mixed_edges`.
    """
    primitives, stride = place[0].primitives, place[1].stride
    if kernels.depthwise == "fused":  # each edge would need kernels of its own
        kernels = lowering.LOWERINGS["shifted"]
    source, new_stats, sums = source_of(state[None]), {}, [0.0] * len(weights)
    columns = dict(zip(primitives, weights.T, strict=True))
    options = {"stride": stride, "train": train, "kernels": kernels}
    for name, where in live_positions(*place).items():
        if name == "none" and not _is_alone(*place, where):
            continue  # `none` adds zeros
        column = columns[name][jnp.asarray(where)]
        with intermediates.weighted(column):
            output, primitive_stats = _applied(
                name,
                primitives[name],
                variables,
                source,
                skips=skips,
                key=key,
                edges=where,
                **options,
            )
        rows = output.times(column[:, None]).wide()
        for row, edge in zip(rows, where, strict=True):
            sums[edge] += row
        if primitive_stats:
            new_stats[name] = primitive_stats
    return [lowering.materialise(s.astype(state.dtype)) for s in sums], new_stats


def _is_alone(spec, outgoing, where) -> bool:
    """Whether one of some edges has a single primitive, whose output is its sum."""
    return any(len(spec.live[outgoing.edges[edge]]) == 1 for edge in where)


def _applied(name, primitive, variables, source, *, skips, key, edges, **options):
    """The output of one primitive on its edges, and its new batch_stats."""
    params, stats = (tree.get(name, {}) for tree in variables)
    if primitive.draws:
        options["keys"] = edge_keys(key, name, edges)
    output, new_stats = primitive.apply(params, stats, source, **options)
    if skips is not None and primitive.identity and options["stride"] == 1:
        output = Affine(drop_elements(output.x, len(edges), skips))
    return output, new_stats


def _shuffled_node(mixed, bypass, partial_channels: int, dtype) -> Array:
    """Joins the two sums of a node and shuffles its channels across k groups."""
    mixed, bypass = mixed.astype(dtype), bypass.astype(dtype)
    if partial_channels == 1:
        return lowering.materialise(mixed)
    active, *pixels = mixed.shape
    groups = bypass.reshape(partial_channels - 1, active, *pixels)
    shuffled = jnp.stack([mixed, *groups], axis=1)  # [C / k, k, H, W, N]
    return lowering.materialise(shuffled.reshape(-1, *pixels))
