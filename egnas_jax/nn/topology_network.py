"""Computes the derived network of a cell with one input: three stages of equal cells.

Between stages a residual block doubles the channels and halves the image. A norm and a
ReLU precede the classifier. All norms have a scale and a shift. The cells of a stage
run as one `lax.scan`; a GPU trains without the loop (`Rules.looped_cells`).

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020), `TinyNetwork` of its code. It drops no
paths; here edges that are no identity can be dropped, as in the DARTS family.

Dims: N images, H, W sides, C channels, G cells of a stage.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from egnas_jax.nn import intermediates, lowering
from egnas_jax.nn.cell_plan import NUM_STAGES, stage_cells, stage_channels
from egnas_jax.nn.drawing_keys import within
from egnas_jax.nn.drop_path import keep_factors
from egnas_jax.nn.init import stack_leaves
from egnas_jax.nn.layers import batch_norm, init_batch_norm, relu
from egnas_jax.nn.network_cell import derived_cell, init_cell
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.residual_block import init_residual_block, residual_block
from egnas_jax.nn.runs_of_cells import run_cells
from egnas_jax.nn.stem_and_head import (
    classify,
    images_innermost,
    init_linear,
    init_stem_layer,
    stem_layer,
)
from egnas_jax.space import Topology
from egnas_jax.types import Array, Key, PyTree

(KIND,) = Topology.kinds


def check_config(genotype: Topology, config: NetworkConfig) -> None:
    """Refuses settings that a network of stages cannot have.

    Raises:
      ValueError: the cells cannot be shared out among the stages, or there is an
        auxiliary head or another frame than cifar; the message says all that must be
        set.
    """
    near = NUM_STAGES * max(1, round((config.layers - 2) / NUM_STAGES)) + 2
    needed = {"layers": near, "auxiliary": False, "frame": "cifar", "stages": None}
    given = {field: getattr(config, field) for field in needed}
    wrong = {field: value for field, value in needed.items() if given[field] != value}
    if not wrong:
        return
    problem = " and ".join(f"network.{field} is {given[field]!r}" for field in wrong)
    python = ", ".join(f"{field}={value!r}" for field, value in wrong.items())
    options = [f"--set network.{field}={value}" for field, value in wrong.items()]
    raise ValueError(
        f"{problem}, but the network of {genotype.format()} has 3 N + 2 layers (three "
        f"stages of N cells and two residual blocks), no auxiliary head, no list of "
        f"stages, and the frame cifar. Give NetworkConfig({python}), on the command "
        f"line {' '.join(options).lower()}. NAS-Bench-201 has channels=16 and "
        f"layers=17."
    )


def leaves_of(genotype: Topology, config: NetworkConfig, image_channels: int) -> PyTree:
    """The leaves of a network: {"params", "batch_stats"}, trees of `nn.init.Leaf`."""
    stem, stem_stats = init_stem_layer(image_channels, config.channels)
    params = {"stem": stem, "stages": [], "blocks": []}
    stats = {"stem": stem_stats, "stages": [], "blocks": []}
    for stage in range(NUM_STAGES):
        channels = stage_channels(config.channels, stage)
        if stage:
            block, block_stats = init_residual_block(channels // 2, channels)
            params["blocks"].append(block)
            stats["blocks"].append(block_stats)
        trees = init_cell(genotype, KIND, channels, False)
        cells = [stack_leaves(tree, stage_cells(config.layers)) for tree in trees]
        params["stages"].append(cells[0])
        stats["stages"].append(cells[1])
    params["norm"], stats["norm"] = init_batch_norm(1, channels, affine=True)
    params["classifier"] = init_linear(channels, config.num_classes)
    return {"params": params, "batch_stats": stats}


def forward(
    genotype: Topology,
    config: NetworkConfig,
    variables: PyTree,
    images: Array,
    *,
    train: bool,
    key: Key | None,
    drop_path: Array | float,
    drawing: Key | None = None,
) -> tuple[Array, None, PyTree]:
    """Runs stem, stages and residual blocks, global average and classifier.

    Args:
      genotype: the cell.
      config: the network around it.
      variables, images, train, drop_path: see `NetworkApply`.
      key: of drop path; None: nothing is dropped.
      drawing: key of the primitives that draw; None where none does.

    Returns:
      Logits f32[N, classes], None for an auxiliary head, and the new batch_stats.
    """
    params, stats = variables["params"], variables["batch_stats"]
    x = images_innermost(images)
    x, stem_stats = stem_layer(params["stem"], stats["stem"], x, train)
    new_stats = {"stem": stem_stats, "stages": [], "blocks": []}
    options = {"key": key, "drop_path": drop_path, "drawing": drawing}
    run_cell = functools.partial(_run_cell, genotype, train=train, **options)
    cell: Callable = jax.checkpoint(run_cell) if config.remat else run_cell
    looped = lowering.rules_for().looped_cells or not train
    size = stage_cells(config.layers)
    for stage in range(NUM_STAGES):
        if stage:
            block = params["blocks"][stage - 1], stats["blocks"][stage - 1]
            x, block_stats = residual_block(*block, x, train)
            new_stats["blocks"].append(block_stats)
        indices = jnp.arange(stage * size, (stage + 1) * size)
        scanned = params["stages"][stage], stats["stages"][stage], indices
        x, stage_stats = run_cells(cell, x, scanned, looped=looped)
        new_stats["stages"].append(stage_stats)
    x, new_stats["norm"] = batch_norm(params["norm"], stats["norm"], x[None], train)
    rectified = intermediates.expose_one(intermediates.RELU, relu(x[0]))
    return classify(params["classifier"], rectified), None, new_stats


def _run_cell(genotype, x, scanned, *, train, key, drop_path, drawing):
    """Runs one cell, as a step of a scan over its input."""
    params, stats, index = scanned
    factors = None
    if key is not None:
        edges, images = len(genotype.edges), x.shape[-1]
        key = jax.random.fold_in(key, index)
        factors = keep_factors(key, edges, images, drop_path, x.dtype)
    options = {"factors": factors, "key": within(drawing, index)}
    return derived_cell(genotype, KIND, (params, stats), (x,), train=train, **options)
