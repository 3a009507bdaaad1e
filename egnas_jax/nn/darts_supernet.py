"""Computes the search network of DARTS's macro structure: a stack of mixed cells.

Neighbouring cells of equal shape form a group, which runs as one `lax.scan` and so
compiles the cell once. The cells of a group differ only in their preprocessing, which
`lax.switch` selects. In training a scan stacks the residuals of every cell: the
arrays that the gradient needs from the forward pass. So a first group of two cells runs
without a loop in training. For the largest images its residuals are a gigabyte, which a
scan would write and read once more (benchmarks/README.md). A GPU trains without any
loop, because every residual would take one kernel to stack it and one to read it.

Source: model_search.py of the DARTS family as EG-NAS uses it.

Dims: N images, H, W sides, C channels, G cells of a group.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_inputs import init_cell_inputs, preprocess_inputs
from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.cell_spec import CellSpec
from egnas_jax.nn.drawing_keys import within
from egnas_jax.nn.drop_path import EdgeDropout, edge_factors
from egnas_jax.nn.init import stack_leaves
from egnas_jax.nn.skip_dropout import SkipDropout
from egnas_jax.nn.stem_and_head import (
    classify,
    images_innermost,
    init_linear,
    init_stem_layer,
    stem_layer,
)
from egnas_jax.nn.supernet_config import (
    SupernetConfig,
    cells_of,
    groups_of,
    live_primitives,
)
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Key, Mixing, PyTree


def leaves_of(config: SupernetConfig, image_channels: int) -> PyTree:
    """The leaves of a supernet: {"params", "batch_stats"}, trees of `nn.init.Leaf`."""
    cells = cells_of(config)
    width = config.stem_multiplier * config.channels
    stem_params, stem_stats = init_stem_layer(image_channels, width)
    preprocess = [init_cell_inputs(plan, affine=False) for plan in cells]
    groups = []
    for group in groups_of(config):
        plan = cells[group[0]]
        trees = init_cell(_spec(config, plan), plan.channels)
        groups.append([stack_leaves(tree, len(group)) for tree in trees])
    features = cells[-1].channels * len(SPACES[config.space].output_nodes)
    params = {
        "stem": stem_params,
        "preprocess": [params for params, _ in preprocess],
        "groups": [params for params, _ in groups],
        "classifier": init_linear(features, config.num_classes),
    }
    stats = {
        "stem": stem_stats,
        "preprocess": [stats for _, stats in preprocess],
        "groups": [stats for _, stats in groups],
    }
    return {"params": params, "batch_stats": stats}


def forward(
    config: SupernetConfig,
    variables: PyTree,
    images: Array,
    mixing: Mixing,
    *,
    train: bool,
    many_mixings: bool,
    dropout: EdgeDropout | SkipDropout | None = None,
    key: Key | None = None,
) -> tuple[Array, PyTree]:
    """Runs stem, groups of cells, global average and classifier.

    Args:
      config: the supernet.
      variables, images, mixing, train, many_mixings, dropout: see `SupernetApply`.
      key: the key by which primitives draw; None where none does.

    Returns:
      Logits f32[N, classes] and the new batch_stats.
    """
    params, stats = variables["params"], variables["batch_stats"]
    x = images_innermost(images.astype(config.dtype))  # the dtype of all activations
    x, stem_stats = stem_layer(params["stem"], stats["stem"], x, train)
    new_stats = {"stem": stem_stats, "preprocess": [], "groups": []}
    states = x, x
    for position, indices in enumerate(groups_of(config)):
        options = {"train": train, "dropout": dropout, "key": key}
        group = _group(config, variables, mixing, position, **options)
        is_scanned = _is_scanned(len(indices), position, train, many_mixings)
        run = _scan if is_scanned else _unroll
        states, preprocess_stats, cell_stats = run(group, states)
        new_stats["preprocess"] += preprocess_stats
        new_stats["groups"].append(cell_stats)
    return classify(params["classifier"], states[1]), new_stats


def _is_scanned(size: int, position: int, train: bool, many_mixings: bool) -> bool:
    """Whether a group of `size` cells runs as a loop."""
    if intermediates.is_read() or (train and not lowering.rules_for().looped_cells):
        return False
    if position == 0 and (many_mixings or (train and size == 2)):
        return False
    return size > 1


class _Group(NamedTuple):
    """Equal cells that follow one another, with their arrays.

    Attributes:
      preprocess: for each cell, (older, newer) -> its inputs, new batch_stats.
      cell: (position in the group, parameters and batch_stats, inputs) -> output, new
        batch_stats.
      variables: parameters and batch_stats of the cells, each leaf [G, ...].
      channels: channels of the outputs.
    """

    preprocess: list[Callable]
    cell: Callable
    variables: tuple[PyTree, PyTree]
    channels: int


def _group(config, variables, mixing, position, *, train, dropout, key) -> _Group:
    """The group at `position`, as `forward` runs it."""
    trees = variables["params"], variables["batch_stats"]
    cells, indices = cells_of(config), groups_of(config)[position]
    spec = _spec(config, cells[indices[0]])

    def cell(index, cell_variables, inputs):
        options = {"train": train, "implementation": config.lowering}
        number = indices[0] + index
        options["key"] = within(key, number)
        if isinstance(dropout, SkipDropout):
            options["skips"] = dropout.within(number)
        else:
            edges, images = spec.space.num_edges, inputs[0].shape[-1]
            options["factors"] = edge_factors(dropout, number, edges, images)
        return mixed_cell(spec, cell_variables, inputs, mixing, **options)

    return _Group(
        preprocess=[
            functools.partial(
                preprocess_inputs,
                cells[index],
                tuple(tree["preprocess"][index] for tree in trees),
                train=train,
            )
            for index in indices
        ],
        cell=cell,
        variables=tuple(tree["groups"][position] for tree in trees),
        channels=cells[indices[0]].channels * len(spec.space.output_nodes),
    )


def _spec(config: SupernetConfig, plan: CellPlan) -> CellSpec:
    live = live_primitives(config, plan.kind)
    sizes = config.partial_channels, config.pool_bn
    return CellSpec(SPACES[config.space], plan.kind, *sizes, live, plan.reduction)


def _unroll(group: _Group, states: tuple[Array, Array]):
    """Runs a group cell by cell.

    Args:
      group: the cells.
      states: outputs of the two cells before the group, older first.

    Returns:
      The last two outputs; the new batch_stats of the preprocessings, a list over the
      cells; and those of the cells, each leaf [G, ...].
    """
    (older, newer), preprocess_stats, cell_stats = states, [], []
    for index, preprocess in enumerate(group.preprocess):
        variables = jax.tree.map(lambda leaf, i=index: leaf[i], group.variables)
        inputs, input_stats = preprocess(older, newer)
        out, new_stats = group.cell(index, variables, inputs)
        older, newer = newer, out
        preprocess_stats.append(input_stats)
        cell_stats.append(new_stats)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cell_stats)
    return (older, newer), preprocess_stats, stacked


def _scan(group: _Group, states: tuple[Array, Array]):
    """Runs a group as one compiled body; arguments and results: see `_unroll`."""
    size = len(group.preprocess)

    def step(carry, scanned):
        index, *variables = scanned
        branches = [
            functools.partial(_preprocess_in_group, preprocess, i, states)
            for i, preprocess in enumerate(group.preprocess)
        ]
        inputs, input_stats = lax.switch(index, branches, *carry)
        out, new_stats = group.cell(index, variables, inputs)
        return (carry[1], out), (input_stats, new_stats)

    zeros = jnp.zeros((group.channels, *states[1].shape[1:]), states[1].dtype)
    carry, (input_stats, cell_stats) = lax.scan(
        step, (zeros, zeros), (jnp.arange(size), *group.variables)
    )
    preprocess_stats = [
        jax.tree.map(lambda leaf, i=i: leaf[i], input_stats) for i in range(size)
    ]
    return carry, preprocess_stats, cell_stats


def _preprocess_in_group(preprocess, index, outside, *inside):
    """Preprocesses for the cell at `index` of a group.

    Args:
      preprocess: (older, newer) -> inputs, new batch_stats.
      index: position of the cell; the first two read states from before the group.
      outside: outputs of the two cells before the group.
      inside: outputs of the two cells before this one, as far as the group has them.
    """
    older = outside[index] if index < 2 else inside[0]
    newer = outside[1] if index < 1 else inside[1]
    return preprocess(older, newer)
