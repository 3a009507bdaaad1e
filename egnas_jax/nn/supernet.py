"""The search network: a stack of mixed cells as two pure functions.

A supernet never sees alpha: it takes a `Mixing`, so that one network serves every
search method and a population of mixings is evaluated by `jax.vmap` over that argument
alone.

Neighbouring cells of equal shape run as one `lax.scan`, which compiles the cell once;
only their preprocessing differs and is chosen by `lax.switch`.

Source: model_search.py of the DARTS family as EG-NAS uses it.

Dims: N images, H, W sides, C channels, L cells, G equal cells in a group.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.lookup import lookup
from egnas_jax.nn import lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.init import draw, kernel, stack_leaves
from egnas_jax.nn.layers import (
    batch_norm,
    factorized_reduce,
    init_batch_norm,
    init_conv_norm,
    relu,
    relu_conv_norm,
)
from egnas_jax.nn.macro import CellPlan, plan_cells
from egnas_jax.nn.precision import check_precision, wide
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Key, Mixing, PyTree


@dataclass(frozen=True)
class SupernetConfig:
    """What is built.

    Attributes:
      channels: C of the first cell; doubled by each reduction.
      layers: cells L; those at L // 3 and 2 L // 3 halve the image.
      num_classes: classes.
      partial_channels: k; C / k channels go through the primitives (1: all).
      space: a name of `SPACES`.
      pool_bn: batch norm after the poolings (DARTS has it, EG-NAS does not).
      stem_multiplier: the stem has this times C channels.
      lowering: how kernels are computed: "grouped", "shifted", "dense", or "auto" for
        what the table of `nn.lowering` names for the backend. The result is the same
        to rounding.
      dtype: of the activations, "float32" or "bfloat16"; weights, statistics, sums and
        logits are float32 in both (nn/precision.py).

    Raises:
      ValueError: a number out of its range, channels that k does not divide, or an
        unknown space, lowering or dtype.
    """

    channels: int = 16
    layers: int = 8
    num_classes: int = 10
    partial_channels: int = 4
    space: str = "darts7"
    pool_bn: bool = False
    stem_multiplier: int = 3
    lowering: str = "auto"
    dtype: str = "float32"

    def __post_init__(self):
        if lookup(SPACES, self.space, "space").family != "darts":
            raise ValueError(
                f"supernet.space is {self.space!r}, which has no supernet yet; take "
                f"one of the DARTS family."
            )
        lookup(lowering.CHOICES, self.lowering, "lowering")
        check_precision("supernet.dtype", self.dtype)
        # far beyond what anybody builds; a slip of the keyboard is worse than a crash
        ranges = {
            "channels": (2, 4096),
            "layers": (1, 200),
            "num_classes": (2, 2**20),
            "partial_channels": (1, 4096),
            "stem_multiplier": (1, 64),
        }
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"supernet.{name} is {getattr(self, name)}, but must be from "
                    f"{least} to {most}."
                )
        if self.channels % self.partial_channels or self.channels % 2:
            raise ValueError(
                f"supernet.channels is {self.channels}, but must be even and divisible "
                f"by supernet.partial_channels, {self.partial_channels}: "
                f"change one of the two."
            )


class Supernet(NamedTuple):
    """A network as functions.

    Attributes:
      config: what was built.
      init: (key, image_shape=(H, W, C)) -> {"params", "batch_stats"}, all f32.
      apply: (variables, images f32[N, H, W, C], mixing, train=False, many=False) ->
        logits f32[N, classes] and batch statistics. `train` uses the batch's statistics
        and moves the running ones; otherwise the running ones are used and returned.
        `many` says that a loop will run many mixings on these images: the first cell is
        then compiled by itself, so that XLA takes out of the loop what no mixing
        changes, the stem and most primitives of that cell; the values are the same to
        rounding.
    """

    config: SupernetConfig
    init: Callable
    apply: Callable


@functools.cache
def make_supernet(config: SupernetConfig) -> Supernet:
    """The supernet of a configuration; equal configurations give the same functions,
    so that what was compiled for one serves the other."""

    def init(key: Key, image_shape: tuple[int, int, int] = (32, 32, 3)) -> PyTree:
        check_image_shape(image_shape)
        params, stats = _describe(config, image_shape[-1])
        return {"params": draw(key, params), "batch_stats": draw(key, stats)}

    def apply(
        variables: PyTree,
        images: Array,
        mixing: Mixing,
        train: bool = False,
        many: bool = False,
    ) -> tuple[Array, PyTree]:
        check_image_shape(images.shape[1:])
        return _forward(config, variables, images, mixing, train, many)

    return Supernet(config, init, apply)


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Refuses images that two reductions cannot halve.

    Args:
      shape: [H, W, C].

    Raises:
      ValueError: not three numbers, or a side that is no positive multiple of 4.
    """
    if len(shape) == 3 and all(side and side % 4 == 0 for side in shape[:2]):
        return
    fitting = "x".join(str(max(4, -(-side // 4) * 4)) for side in shape[:2])
    raise ValueError(
        f"Images of shape {tuple(shape)} do not fit a supernet: it takes [H, W, C] "
        f"with H and W divisible by 4, as two cells halve the resolution. Pad, crop or "
        f"resize the images, e.g. to {fitting}."
    )


def cells_of(config: SupernetConfig) -> tuple[CellPlan, ...]:
    """The macro structure of a supernet."""
    stem = config.stem_multiplier * config.channels
    nodes = SPACES[config.space].num_nodes
    return plan_cells(config.channels, config.layers, (stem, stem), (nodes, nodes))


def groups_of(config: SupernetConfig) -> tuple[tuple[int, ...], ...]:
    """Runs of neighbouring cells that are equal after their preprocessing."""

    def shape(index: int):
        plan = cells[index]
        return plan.reduction, plan.channels

    cells = cells_of(config)
    runs = itertools.groupby(range(len(cells)), key=shape)
    return tuple(tuple(run) for _, run in runs)


def _describe(config: SupernetConfig, image_channels: int) -> tuple[PyTree, PyTree]:
    """Leaves of the whole network: parameters and statistics."""
    space, cells = SPACES[config.space], cells_of(config)
    stem = config.stem_multiplier * config.channels
    norm, norm_stats = init_batch_norm(1, stem, affine=True)
    preprocess = [
        {
            name: init_conv_norm(1, fan_in, plan.channels, False)
            for name, fan_in in zip(("s0", "s1"), plan.inputs, strict=True)
        }
        for plan in cells
    ]
    groups = []
    for group in groups_of(config):
        plan = cells[group[0]]
        active = plan.channels // config.partial_channels
        cell = init_cell(space, active, plan.reduction, config.pool_bn)
        groups.append([stack_leaves([part] * len(group)) for part in cell])
    last = cells[-1].channels * space.num_nodes
    params = {
        "stem": {
            "conv": kernel((stem, image_channels, 3, 3), 9 * image_channels),
            "norm": norm,
        },
        "preprocess": [{k: p for k, (p, _) in pair.items()} for pair in preprocess],
        "groups": [params for params, _ in groups],
        "classifier": {
            "kernel": kernel((config.num_classes, last), last),
            "bias": kernel((config.num_classes,), last),
        },
    }
    stats = {
        "stem": norm_stats,
        "preprocess": [{k: s for k, (_, s) in pair.items()} for pair in preprocess],
        "groups": [stats for _, stats in groups],
    }
    return params, stats


def _forward(config, variables, images, mixing, train, many):
    """Stem, groups of cells, global average, classifier."""
    params, stats = variables["params"], variables["batch_stats"]
    images = images.astype(config.dtype)  # and so all activations
    x = jnp.transpose(images, (3, 1, 2, 0))  # images innermost: see nn.lowering
    x = lowering.convolve(x, params["stem"]["conv"], (1, 1), (1, 1))
    x, stem_stats = batch_norm(params["stem"]["norm"], stats["stem"], x[None], train)
    older = newer = x[0]
    preprocess_stats, group_stats = [], []
    for position, group in enumerate(groups_of(config)):
        run = functools.partial(_run_group, config, group, params, stats, mixing, train)
        scan = len(group) > 1 and not (many and position == 0)
        (older, newer), before, moved = run(position, older, newer, scan)
        preprocess_stats += before
        group_stats.append(moved)
    features = jnp.mean(wide(newer), axis=(1, 2))  # [C, N]
    head = params["classifier"]
    logits = features.T @ head["kernel"].T + head["bias"][None]
    new = {"stem": stem_stats, "preprocess": preprocess_stats, "groups": group_stats}
    return logits, new


def _run_group(
    config, group, params, stats, mixing, train, position, older, newer, scan
):
    """Equal cells one after another: one compiled body where there are several.

    Args:
      group: indices of the cells.
      position: of the group.
      older, newer: outputs of the two cells before it (the stem's at the start).
      scan: whether one body serves all cells of the group.

    Returns:
      The last two outputs, the preprocessings' statistics (a list over the cells) and
      the cells' statistics, stacked [G, ...].
    """
    cells = cells_of(config)
    plan = cells[group[0]]
    before = [
        _preprocess(cells[i], params["preprocess"][i], stats["preprocess"][i], train)
        for i in group
    ]

    def cell(cell_params, cell_stats, inputs):
        return mixed_cell(
            SPACES[config.space],
            plan.reduction,
            config.pool_bn,
            config.partial_channels,
            cell_params,
            cell_stats,
            inputs,
            mixing.primitives[plan.kind],
            mixing.edges[plan.kind],
            train,
            config.lowering,
        )

    weights = params["groups"][position], stats["groups"][position]
    if not scan:
        moved, cell_stats = [], []
        for index, preprocess in enumerate(before):
            own = jax.tree.map(lambda leaf, i=index: leaf[i], weights)
            inputs, first = preprocess(older, newer)
            out, second = cell(*own, inputs)
            older, newer = newer, out
            moved.append(first)
            cell_stats.append(second)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cell_stats)
        return (older, newer), moved, stacked

    def step(carry, scanned):
        index, cell_params, cell_stats = scanned
        branches = [
            functools.partial(_with_inputs, before[i], i, older, newer)
            for i in range(len(group))
        ]
        inputs, moved = lax.switch(index, branches, *carry)
        out, cell_stats = cell(cell_params, cell_stats, inputs)
        return (carry[1], out), (moved, cell_stats)

    _, height, width, images = newer.shape
    shape = plan.channels * SPACES[config.space].num_nodes, height, width, images
    nothing = jnp.zeros(shape, newer.dtype)
    carry, (moved, cell_stats) = lax.scan(
        step, (nothing, nothing), (jnp.arange(len(group)), *weights)
    )
    unstacked = [jax.tree.map(lambda s, i=i: s[i], moved) for i in range(len(group))]
    return carry, unstacked, cell_stats


def _with_inputs(preprocess, index, older, newer, s0, s1):
    """Preprocessing of a group's cell: the first two reach back before the group."""
    return preprocess(
        (older, newer)[index] if index < 2 else s0, newer if index < 1 else s1
    )


def _preprocess(plan: CellPlan, params, stats, train):
    """Both inputs of a cell brought to its channels, and its image side."""

    def apply(s0, s1):
        first = _reduced if plan.reduced_before else relu_conv_norm
        y0, stats0 = first(params["s0"], stats["s0"], s0[None], train)
        y1, stats1 = relu_conv_norm(params["s1"], stats["s1"], s1[None], train)
        return (y0[0], y1[0]), {"s0": stats0, "s1": stats1}

    return apply


def _reduced(params, stats, state, train):
    return factorized_reduce(params, stats, relu(state), train)
