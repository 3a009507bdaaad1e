"""The search network of NAS-Bench-201: three stages of mixed cells.

Between stages a residual block doubles the channels and halves the image; before the
classifier come a norm and a ReLU. Norms within cells have no scale and shift while a
search runs, those of the frame have.

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020), search networks of its code: `stem`,
`NAS201SearchCell`, `ResNetBasicblock`, `lastact`.

Dims: N images, H, W sides, C channels, G cells of a stage.
"""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_plan import NUM_STAGES, stage_cells, stage_channels
from egnas_jax.nn.ends import classify, init_classifier, init_stem, stem
from egnas_jax.nn.init import kernel, stack_leaves
from egnas_jax.nn.layers import batch_norm, init_batch_norm, relu
from egnas_jax.nn.precision import wide
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Mixing, PyTree


def describe(config, image_channels: int) -> PyTree:
    """The leaves of a supernet: {"params", "batch_stats"}, trees of `nn.init.Leaf`.

    Args:
      config: a `SupernetConfig`.
      image_channels: of the images.
    """
    space, cells = SPACES[config.space], stage_cells(config.layers)
    stem_params, stem_stats = init_stem(image_channels, config.channels)
    stages, blocks = [], []
    for stage in range(NUM_STAGES):
        channels = stage_channels(config.channels, stage)
        if stage:
            blocks.append(_init_block(channels // 2, channels))
        active = channels // config.partial_channels
        cell = init_cell(space, active, False, config.pool_bn)
        stages.append([stack_leaves([part] * cells) for part in cell])
    norm, norm_stats = init_batch_norm(1, channels, affine=True)
    params = {
        "stem": stem_params,
        "stages": [params for params, _ in stages],
        "blocks": [params for params, _ in blocks],
        "norm": norm,
        "classifier": init_classifier(channels, config.num_classes),
    }
    stats = {
        "stem": stem_stats,
        "stages": [stats for _, stats in stages],
        "blocks": [stats for _, stats in blocks],
        "norm": norm_stats,
    }
    return {"params": params, "batch_stats": stats}


def forward(
    config, variables: PyTree, images: Array, mixing: Mixing, train: bool, many: bool
) -> tuple[Array, PyTree]:
    """Logits and statistics; arguments as of `Supernet.apply`."""
    params, stats = variables["params"], variables["batch_stats"]
    x, stem_stats = stem(params["stem"], stats["stem"], images, config.dtype, train)
    new = {"stem": stem_stats, "stages": [], "blocks": []}
    for stage in range(NUM_STAGES):
        if stage:
            own = params["blocks"][stage - 1], stats["blocks"][stage - 1]
            x, moved = _block(*own, x, train)
            new["blocks"].append(moved)
        own = params["stages"][stage], stats["stages"][stage]
        x, moved = _stage(config, *own, x, mixing, train, scan=not (many and not stage))
        new["stages"].append(moved)
    x, new["norm"] = batch_norm(params["norm"], stats["norm"], x[None], train)
    return classify(params["classifier"], relu(x[0])), new


def _stage(config, params, stats, x, mixing, train, scan):
    """Equal cells one after another, as one compiled body where `scan`."""
    space = SPACES[config.space]
    (kind,) = space.kinds

    def cell(x, weights):
        return mixed_cell(
            space,
            False,
            config.pool_bn,
            config.partial_channels,
            *weights,
            (x,),
            mixing.primitives[kind],
            mixing.edges[kind],
            train,
            config.lowering,
        )

    cells = stage_cells(config.layers)
    if scan and cells > 1:
        return lax.scan(cell, x, (params, stats))
    moved = []
    for index in range(cells):
        weights = jax.tree.map(lambda leaf, i=index: leaf[i], (params, stats))
        x, own = cell(x, weights)
        moved.append(own)
    return x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *moved)


def _init_block(fan_in, fan_out):
    """Leaves of a residual block."""
    norms = [init_batch_norm(1, fan_out, affine=True) for _ in range(2)]
    params = {
        "first": kernel((fan_out, fan_in, 3, 3), 9 * fan_in),
        "first_norm": norms[0][0],
        "second": kernel((fan_out, fan_out, 3, 3), 9 * fan_out),
        "second_norm": norms[1][0],
        "shortcut": kernel((fan_out, fan_in, 1, 1), fan_in),
    }
    return params, {"first_norm": norms[0][1], "second_norm": norms[1][1]}


def _block(params, stats, x, train):
    """Twice ReLU, 3x3 convolution, norm, the first with stride 2; beside it a 2x2 mean
    and a 1x1 convolution: [C, H, W, N] -> [2 C, H / 2, W / 2, N]."""
    y, new = x, {}
    for name, stride in (("first", 2), ("second", 1)):
        y = lowering.convolve(relu(y), params[name], (stride, stride), (1, 1))
        norm = f"{name}_norm"
        y, new[norm] = batch_norm(params[norm], stats[norm], y[None], train)
        y = y[0]
    channels, height, width, images = x.shape
    quads = wide(x).reshape(channels, height // 2, 2, width // 2, 2, images)
    mean = jnp.mean(quads, axis=(2, 4)).astype(x.dtype)
    return y + lowering.convolve(mean, params["shortcut"], (1, 1), (0, 0)), new
