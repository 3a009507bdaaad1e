"""The search network: a stack of mixed cells as two pure functions.

A supernet never sees alpha: it takes a `Mixing`, so that one network serves every
search method and a population of mixings is evaluated by `jax.vmap` over that argument
alone.

Neighbouring cells of equal shape run as one `lax.scan`, which compiles the cell once;
only their preprocessing differs and is chosen by `lax.switch`. Where the images are
largest a pair of cells is no loop in training: that would stack what the gradient keeps
of each, a gigabyte that is written and read once more (benchmarks/README.md).

Source: model_search.py of the DARTS family as EG-NAS uses it; the network of the other
family of spaces is in topology_supernet.py.

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
from egnas_jax.nn import lowering, topology_supernet
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_plan import CellPlan, plan_cells, plan_stages
from egnas_jax.nn.ends import classify, init_classifier, init_stem, stem
from egnas_jax.nn.init import draw, stack_leaves
from egnas_jax.nn.layers import (
    factorized_reduce,
    init_conv_norm,
    relu,
    relu_conv_norm,
)
from egnas_jax.nn.precision import check_precision
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Key, Mixing, PyTree


@dataclass(frozen=True)
class SupernetConfig:
    """What is built.

    Attributes:
      channels: C of the first cell; doubled by each reduction.
      layers: cells L; those at L // 3 and 2 L // 3 halve the image. In NAS-Bench-201
        L = 3 N + 2: three stages of N cells and two residual blocks, which halve it.
      num_classes: classes.
      partial_channels: k; C / k channels go through the primitives (1: all).
      space: a name of `SPACES`.
      pool_bn: batch norm after the poolings (DARTS has it, EG-NAS does not).
      stem_multiplier: the stem has this times C channels (not in NAS-Bench-201).
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
        space = lookup(SPACES, self.space, "space")
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
        if space.family == "topology":
            self._check_stages()

    def _check_stages(self):
        """What the frame of NAS-Bench-201 asks for."""
        if self.layers < 5 or (self.layers - 2) % 3:
            near = 3 * max(1, round((self.layers - 2) / 3)) + 2
            raise ValueError(
                f"supernet.layers is {self.layers}, but in the space {self.space} must "
                f"be 3 N + 2: three stages of N cells and two residual blocks. "
                f"Nearest: {near}; the benchmark has 17."
            )
        if self.stem_multiplier != 3:
            raise ValueError(
                f"supernet.stem_multiplier is {self.stem_multiplier}, but in the space "
                f"{self.space} the stem has the channels of the cells: leave it out."
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
      mesh: devices that share the work on populations and batches; None for one.
    """

    config: SupernetConfig
    init: Callable
    apply: Callable
    mesh: jax.sharding.Mesh | None = None


@functools.cache
def make_supernet(config: SupernetConfig) -> Supernet:
    """The supernet of a configuration; equal configurations give the same functions,
    so that what was compiled for one serves the other."""

    topology = SPACES[config.space].family == "topology"
    forward = topology_supernet.forward if topology else _forward

    def init(key: Key, image_shape: tuple[int, int, int] = (32, 32, 3)) -> PyTree:
        check_image_shape(image_shape)
        description = describe(config, image_shape[-1])
        return {name: draw(key, leaves) for name, leaves in description.items()}

    def apply(
        variables: PyTree,
        images: Array,
        mixing: Mixing,
        train: bool = False,
        many: bool = False,
    ) -> tuple[Array, PyTree]:
        check_image_shape(images.shape[1:])
        return forward(config, variables, images, mixing, train, many)

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
    space = SPACES[config.space]
    if space.family == "topology":
        return plan_stages(space.kinds[0], config.channels, config.layers)
    width, nodes = config.stem_multiplier * config.channels, space.num_nodes
    return plan_cells(config.channels, config.layers, (width, width), (nodes, nodes))


def groups_of(config: SupernetConfig) -> tuple[tuple[int, ...], ...]:
    """Runs of neighbouring cells that are equal after their preprocessing."""

    def shape(index: int):
        plan = cells[index]
        return plan.reduction, plan.channels

    cells = cells_of(config)
    runs = itertools.groupby(range(len(cells)), key=shape)
    return tuple(tuple(run) for _, run in runs)


def describe(config: SupernetConfig, image_channels: int) -> PyTree:
    """The leaves of a supernet: {"params", "batch_stats"}, trees of `nn.init.Leaf`."""
    if SPACES[config.space].family == "topology":
        return topology_supernet.describe(config, image_channels)
    space, cells = SPACES[config.space], cells_of(config)
    width = config.stem_multiplier * config.channels
    stem_params, stem_stats = init_stem(image_channels, width)
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
        "stem": stem_params,
        "preprocess": [{k: p for k, (p, _) in pair.items()} for pair in preprocess],
        "groups": [params for params, _ in groups],
        "classifier": init_classifier(last, config.num_classes),
    }
    stats = {
        "stem": stem_stats,
        "preprocess": [{k: s for k, (_, s) in pair.items()} for pair in preprocess],
        "groups": [stats for _, stats in groups],
    }
    return {"params": params, "batch_stats": stats}


def _forward(config, variables, images, mixing, train, many):
    """Stem, groups of cells, global average, classifier."""
    params, stats = variables["params"], variables["batch_stats"]
    x, stem_stats = stem(params["stem"], stats["stem"], images, config.dtype, train)
    older = newer = x
    preprocess_stats, group_stats = [], []
    for position, group in enumerate(groups_of(config)):
        run = functools.partial(_run_group, config, group, params, stats, mixing, train)
        scan = _scanned(len(group), position, train, many)
        (older, newer), before, moved = run(position, older, newer, scan)
        preprocess_stats += before
        group_stats.append(moved)
    logits = classify(params["classifier"], newer)
    new = {"stem": stem_stats, "preprocess": preprocess_stats, "groups": group_stats}
    return logits, new


def _scanned(size: int, position: int, train: bool, many: bool) -> bool:
    """Whether so many equal cells run as a loop."""
    if position == 0 and (many or (train and size == 2)):
        return False
    return size > 1


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
