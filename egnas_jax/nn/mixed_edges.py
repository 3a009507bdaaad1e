"""Computes the weighted sums of primitives on the edges that leave one state.

Edges that have all primitives run stacked on one axis. Where edges have different
primitives, each primitive runs stacked on the edges that have it.

Dims: S edges that leave one state, K primitives, C channels, H, W sides, N images.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.cell_spec import CellSpec, OutEdges, live_positions
from egnas_jax.nn.drawing_keys import edge_keys
from egnas_jax.nn.joint_blocks import joint_blocks
from egnas_jax.nn.layers import Affine
from egnas_jax.nn.precision import wide
from egnas_jax.nn.primitive import EdgeKernel, source_of
from egnas_jax.nn.skip_dropout import SkipDropout, drop_elements
from egnas_jax.types import Array, Key, PyTree


def edges_of(spec: CellSpec, outgoing: OutEdges) -> Callable:
    """The function that computes the edges that leave a state.

    Returns:
      (variables, state, weights, **options) -> the sums [S, C, H', W', N], or a list of
      them, and the new batch_stats; see `mixed_edges`.
    """
    if spec.live is not None:
        return functools.partial(_pruned_edges, spec, outgoing)
    return functools.partial(mixed_edges, spec.primitives, stride=outgoing.stride)


def mixed_edges(
    primitives: dict[str, EdgeKernel],
    variables: tuple[PyTree, PyTree],
    state: Array,
    weights: Array,
    *,
    stride: int,
    kernels: lowering.Kernels,
    train: bool,
    skips: SkipDropout | None = None,
    key: Key | None = None,
) -> tuple[Array, PyTree]:
    """Weighted sums of all primitives on the S edges that leave one state.

    Args:
      primitives: the primitives by name.
      variables: parameters and batch_stats of this source state.
      state: [C, H, W, N], the active channels.
      weights: [S, K].
      stride, kernels, train: see `EdgeApply`.
      skips, key: see `nn.cell.mixed_cell`, for this state.

    Returns:
      [S, C, H', W', N] and the new batch_stats.
    """
    single = functools.partial(
        _by_primitive, primitives, stride=stride, skips=skips, train=train, key=key
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
    """`mixed_edges` by the fused kernels, one by one where a primitive has none."""
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
    rest, other_stats = _by_primitive(
        others, variables, state, used, kernels=kernels, **options
    )
    total = (wide(total) + wide(rest)).astype(state.dtype)
    return total, new_stats | other_stats


def _by_primitive(
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
    """`mixed_edges` primitive by primitive."""
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


def _pruned_edges(
    spec, outgoing, variables, state, weights, *, train, kernels, skips, key
):
    """Weighted sums of the primitives that each of the S edges has, as a list.

    Args:
      spec, outgoing: the cell, and the edges that leave the state.
      variables, state, weights, train, kernels, skips, key: see `mixed_edges`.
    """
    primitives, stride = spec.primitives, outgoing.stride
    if kernels.depthwise == "fused":  # each edge would need kernels of its own
        kernels = lowering.LOWERINGS["shifted"]
    source, new_stats, sums = source_of(state[None]), {}, [0.0] * len(weights)
    columns = dict(zip(primitives, weights.T, strict=True))
    options = {"stride": stride, "train": train, "kernels": kernels}
    for name, where in live_positions(spec, outgoing).items():
        if name == "none" and not _is_only_primitive(spec, outgoing, where):
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


def _is_only_primitive(spec, outgoing, where) -> bool:
    """Whether one of the edges `where` has no other primitive.

    Its zeros are then needed as an array, since nothing else gives the sum a shape.
    """
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
