"""The network that a genotype stands for, as two pure functions.

Neighbouring cells of equal shape run as one `lax.scan`, so that twenty cells compile
nine. The primitives are those of the supernet, with norms that have a scale and a
shift.

Source: model.py of the DARTS family.

Dims: N images, H, W sides, C channels, G equal cells in a run.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.init import draw, stack_leaves
from egnas_jax.nn.layers import (
    factorized_reduce,
    init_conv_norm,
    rectify,
    relu,
    relu_conv_norm,
)
from egnas_jax.nn.network_cell import (
    check_path,
    derived_cell,
    init_cell,
    keep_factors,
)
from egnas_jax.nn.network_config import NetworkConfig, cell_plan, output_channels
from egnas_jax.nn.precision import wide
from egnas_jax.nn.stem_and_head import (
    FRAMES,
    auxiliary,
    classifier,
    init_auxiliary,
    init_classifier,
    init_stem,
    stem,
)
from egnas_jax.space import Genotype
from egnas_jax.types import Array, Key, PyTree


class Network(NamedTuple):
    """A derived network as functions.

    Attributes:
      genotype, config: what was built.
      init: (key, image_shape=(H, W, C)) -> {"params", "batch_stats"}, all f32.
      apply: (variables, images [N, H, W, C], *, train=False, key=None, drop_path=0.0)
        -> logits [N, classes], those of the auxiliary head (None unless in training
        and where there is one), batch statistics. `train` uses the batch's statistics,
        moves the running ones and drops each path of each image with the probability
        `drop_path`, at random by `key`. Activations have the dtype of the images;
        all else stays f32 (nn/precision.py).
    """

    genotype: Genotype
    config: NetworkConfig
    init: Callable
    apply: Callable


@functools.cache
def make_network(genotype: Genotype, config: NetworkConfig) -> Network:
    """The network of a genotype; equal arguments give the same functions, so that what
    was compiled for one serves the other.

    Raises:
      ValueError: a cell that is used has no path from its inputs to its output.
    """
    for kind in sorted({cell.kind for cell in cell_plan(genotype, config)}):
        check_path(genotype, kind)

    def init(key: Key, image_shape: tuple[int, int, int] = (32, 32, 3)) -> PyTree:
        check_image_shape(config, image_shape)
        leaves = describe(genotype, config, image_shape[-1])
        return {name: draw(key, tree) for name, tree in leaves.items()}

    def apply(
        variables: PyTree,
        images: Array,
        *,
        train: bool = False,
        key: Key | None = None,
        drop_path: Array | float = 0.0,
    ) -> tuple[Array, Array | None, PyTree]:
        check_image_shape(config, images.shape[1:])
        drops = drops_paths(train, drop_path)
        if drops and key is None:
            raise ValueError(f"drop_path is {drop_path}, so a key is needed: key=...")
        return _forward(
            genotype,
            config,
            variables,
            images,
            train,
            key if drops else None,
            drop_path,
        )

    return Network(genotype, config, init, apply)


def drops_paths(train: bool, drop_path: Array | float) -> bool:
    """Whether a call drops paths: in training, unless the probability is a plain 0."""
    return train and not (isinstance(drop_path, float | int) and drop_path == 0)


def check_image_shape(config: NetworkConfig, shape: tuple[int, ...]) -> None:
    """Refuses images that the network cannot halve, or its head cannot read.

    Args:
      config: of the network.
      shape: [H, W, C].

    Raises:
      ValueError: not three numbers, or a side that does not fit.
    """
    frame, layers = FRAMES[config.frame], config.layers
    reductions = len({layers // 3, 2 * layers // 3})
    halvings = sum(stride == 2 for _, stride in frame.stem) + reductions
    step = 2**halvings
    if len(shape) != 3 or any(side < 1 or side % step for side in shape[:2]):
        raise ValueError(
            f"Images of shape {tuple(shape)} do not fit this network: it takes [H, W, "
            f"C] with H and W divisible by {step}, as it halves them {halvings} times. "
            f"Pad, crop or resize the images."
        )
    if config.auxiliary and any(
        side // step not in frame.head_sides for side in shape[:2]
    ):
        sides = ", ".join(str(step * side) for side in frame.head_sides)
        raise ValueError(
            f"Images of {shape[0]}x{shape[1]} pixels do not fit the auxiliary head: it "
            f"takes sides of {sides} in the {config.frame} frame. Leave the head out "
            f"(--no-auxiliary), or resize the images."
        )


def runs_of(
    genotype: Genotype, config: NetworkConfig
) -> tuple[tuple[CellPlan, tuple[int, ...]], ...]:
    """Runs of neighbouring equal cells: what they are, and their indices.

    A reduction doubles the channels and so is a run of its own.
    """
    cells = cell_plan(genotype, config)
    runs = itertools.groupby(range(len(cells)), key=cells.__getitem__)
    return tuple((plan, tuple(indices)) for plan, indices in runs)


def describe(genotype: Genotype, config: NetworkConfig, image_channels: int) -> PyTree:
    """Leaves of the whole network: {"params", "batch_stats"}."""
    frame = FRAMES[config.frame]
    stem_params, stem_stats = init_stem(frame, config.channels, image_channels)
    runs = []
    for plan, indices in runs_of(genotype, config):
        parts = _describe_cell(genotype, plan)
        runs.append([stack_leaves([part] * len(indices)) for part in parts])
    cells = cell_plan(genotype, config)
    last = output_channels(genotype, cells[-1])
    params = {
        "stem": stem_params,
        "runs": [run for run, _ in runs],
        "classifier": init_classifier(last, config.num_classes),
    }
    stats = {"stem": stem_stats, "runs": [run for _, run in runs]}
    if config.auxiliary:
        read = output_channels(genotype, cells[2 * config.layers // 3])
        head = init_auxiliary(frame, read, config.num_classes)
        params["auxiliary"], stats["auxiliary"] = head
    return {"params": params, "batch_stats": stats}


def _describe_cell(genotype, plan):
    preprocess = {
        name: init_conv_norm(1, fan_in, plan.channels, True)
        for name, fan_in in zip(("s0", "s1"), plan.inputs, strict=True)
    }
    params, stats = init_cell(genotype, plan.kind, plan.channels)
    return (
        {name: p for name, (p, _) in preprocess.items()} | {"edges": params},
        {name: s for name, (_, s) in preprocess.items()} | {"edges": stats},
    )


def _forward(genotype, config, variables, images, train, key, drop_path):
    """Stem, runs of cells, global average, classifiers."""
    params, stats = variables["params"], variables["batch_stats"]
    frame = FRAMES[config.frame]
    x = jnp.transpose(images, (3, 1, 2, 0))  # images innermost: see nn.lowering
    states, stem_stats = stem(frame, params["stem"], stats["stem"], x, train)
    new = {"stem": stem_stats, "runs": []}
    if config.auxiliary:
        new["auxiliary"] = stats["auxiliary"]
    auxiliary_logits = None
    for position, (plan, indices) in enumerate(runs_of(genotype, config)):
        cell = functools.partial(_cell, genotype, plan, train, key, drop_path)
        cell = jax.checkpoint(cell) if config.remat else cell
        scanned = params["runs"][position], stats["runs"][position], jnp.array(indices)
        states, moved = _run(cell, tuple(states), scanned)
        new["runs"].append(moved)
        if config.auxiliary and train and indices[-1] == 2 * config.layers // 3:
            auxiliary_logits, new["auxiliary"] = auxiliary(
                frame, params["auxiliary"], stats["auxiliary"], states[1], train
            )
            # torch's head rectifies in place. All cells rectify what they read, so
            # that is seen only where the head reads the last cell (3 layers or less).
            states = states[0], rectify(states[1])
    features = jnp.mean(wide(states[1]), axis=(1, 2))  # [C, N]
    return classifier(params["classifier"], features), auxiliary_logits, new


def _run(cell, states, scanned):
    """Equal cells one after another: the last two states, statistics [G, ...]."""
    if len(scanned[-1]) > 1:
        return lax.scan(cell, states, scanned)
    states, moved = cell(states, jax.tree.map(lambda leaf: leaf[0], scanned))
    return states, jax.tree.map(lambda leaf: leaf[None], moved)


def _cell(genotype, plan, train, key, drop_path, states, own):
    """One cell with its preprocessings, as a step of a scan over states."""
    params, stats, index = own
    older, newer = states
    first = _reduced if plan.reduced_before else relu_conv_norm
    s0, stats0 = first(params["s0"], stats["s0"], older[None], train)
    s1, stats1 = relu_conv_norm(params["s1"], stats["s1"], newer[None], train)
    factors = None
    if key is not None:
        pairs, images = len(getattr(genotype, plan.kind)), newer.shape[-1]
        factors = keep_factors(
            jax.random.fold_in(key, index), pairs, images, drop_path, newer.dtype
        )
    out, moved = derived_cell(
        genotype,
        plan.kind,
        params["edges"],
        stats["edges"],
        (s0[0], s1[0]),
        train,
        factors,
    )
    return (newer, out), {"s0": stats0, "s1": stats1, "edges": moved}


def _reduced(params, stats, state, train):
    return factorized_reduce(params, stats, relu(state), train)
