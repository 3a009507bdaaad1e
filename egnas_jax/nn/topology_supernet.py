"""Computes the search network of NAS-Bench-201: three stages of mixed cells.

Between stages a residual block doubles the channels and halves the image. A norm and a
ReLU precede the classifier. During a search the norms inside cells have no scale and
shift; all other norms have them.

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020), search networks of its code: `stem`,
`NAS201SearchCell`, `ResNetBasicblock`, `lastact`.

Dims: N images, H, W sides, C channels, G cells of a stage.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import intermediates
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_plan import NUM_STAGES, stage_cells, stage_channels
from egnas_jax.nn.cell_spec import CellSpec
from egnas_jax.nn.drawing_keys import within
from egnas_jax.nn.init import stack_leaves
from egnas_jax.nn.layers import batch_norm, init_batch_norm, relu
from egnas_jax.nn.residual_block import init_residual_block, residual_block
from egnas_jax.nn.stem_and_head import (
    classify,
    images_innermost,
    init_linear,
    init_stem_layer,
    stem_layer,
)
from egnas_jax.nn.supernet_config import SupernetConfig, live_primitives
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Key, Mixing, PyTree


def leaves_of(config: SupernetConfig, image_channels: int) -> PyTree:
    """The leaves of a supernet: {"params", "batch_stats"}, trees of `nn.init.Leaf`."""
    stem_params, stem_stats = init_stem_layer(image_channels, config.channels)
    stages, blocks = [], []
    for stage in range(NUM_STAGES):
        channels = stage_channels(config.channels, stage)
        if stage:
            blocks.append(init_residual_block(channels // 2, channels))
        trees = init_cell(_spec(config), channels)
        stages.append(
            [stack_leaves(tree, stage_cells(config.layers)) for tree in trees]
        )
    norm, norm_stats = init_batch_norm(1, channels, affine=True)
    params = {
        "stem": stem_params,
        "stages": [params for params, _ in stages],
        "blocks": [params for params, _ in blocks],
        "norm": norm,
        "classifier": init_linear(channels, config.num_classes),
    }
    stats = {
        "stem": stem_stats,
        "stages": [stats for _, stats in stages],
        "blocks": [stats for _, stats in blocks],
        "norm": norm_stats,
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
    key: Key | None = None,
) -> tuple[Array, PyTree]:
    """Runs stem, stages and residual blocks, global average and classifier.

    Args:
      config: the supernet.
      variables, images, mixing, train, many_mixings: see `SupernetApply`.
      key: the key by which primitives draw; None where none does.

    Returns:
      Logits f32[N, classes] and the new batch_stats.
    """
    params, stats = variables["params"], variables["batch_stats"]
    x = images_innermost(images.astype(config.dtype))  # the dtype of all activations
    x, stem_stats = stem_layer(params["stem"], stats["stem"], x, train)
    cell = functools.partial(
        mixed_cell,
        _spec(config),
        mixing=mixing,
        train=train,
        implementation=config.lowering,
    )
    new_stats = {"stem": stem_stats, "stages": [], "blocks": []}
    for stage in range(NUM_STAGES):
        if stage:
            block = params["blocks"][stage - 1], stats["blocks"][stage - 1]
            x, block_stats = residual_block(*block, x, train)
            new_stats["blocks"].append(block_stats)
        cells = params["stages"][stage], stats["stages"][stage]
        size = stage_cells(config.layers)
        keys = None
        if key is not None:
            numbers = jnp.arange(stage * size, (stage + 1) * size)
            keys = jax.vmap(functools.partial(within, key))(numbers)
        scan = not (many_mixings and stage == 0) and size > 1
        x, stage_stats = _stage(cell, (cells, keys), x, size, scan=scan)
        new_stats["stages"].append(stage_stats)
    x, new_stats["norm"] = batch_norm(params["norm"], stats["norm"], x[None], train)
    rectified = intermediates.expose_one(intermediates.RELU, relu(x[0]))
    return classify(params["classifier"], rectified), new_stats


def _spec(config: SupernetConfig) -> CellSpec:
    space = SPACES[config.space]
    (kind,) = space.kinds
    live = live_primitives(config, kind)
    return CellSpec(space, kind, config.partial_channels, config.pool_bn, live)


def _stage(mixed, arrays, x, size, *, scan):
    """Runs equal cells one after another.

    Args:
      mixed: (parameters and batch_stats, inputs, key=...) -> output, new batch_stats.
      arrays: parameters and batch_stats of the cells, and their keys or None; each leaf
        [G, ...].
      x: input of the first cell, [C, H, W, N].
      size: G.
      scan: whether one compiled body serves all cells.

    Returns:
      The output of the last cell, and the new batch_stats, each leaf [G, ...].
    """

    def cell(x, arrays_of_cell):
        variables, key = arrays_of_cell
        return mixed(variables, (x,), key=key)

    if scan and not intermediates.is_read():
        return lax.scan(cell, x, arrays)
    stats_of_cells = []
    for index in range(size):
        x, new_stats = cell(x, jax.tree.map(lambda leaf, i=index: leaf[i], arrays))
        stats_of_cells.append(new_stats)
    return x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *stats_of_cells)
