"""Builds the network that a genotype describes, as two pure functions.

This is the network of two kinds of cells, each with two inputs. That of a `Topology` is
in topology_network.py.

Neighbouring cells of equal shape run as one `lax.scan`, so a network of twenty cells
compiles nine; a GPU trains without the loop (`Rules.looped_cells`). The primitives are
those of the supernet, with norms that have a scale and a shift.

Source: model.py of the DARTS family.

Dims: N images, H, W sides, C channels, G equal cells in a run.
"""

import functools
import itertools
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Float

from egnas_jax.nn import lowering, topology_network
from egnas_jax.nn.cell_inputs import init_cell_inputs, preprocess_inputs
from egnas_jax.nn.cell_plan import CellPlan, last_reduction, run_key
from egnas_jax.nn.drawing_keys import pass_key, within
from egnas_jax.nn.drop_path import keep_factors
from egnas_jax.nn.init import draw, stack_leaves
from egnas_jax.nn.layers import rectify
from egnas_jax.nn.network_cell import derived_cell, init_cell
from egnas_jax.nn.network_config import (
    FRAMES,
    NetworkConfig,
    cell_plan,
    output_channels,
)
from egnas_jax.nn.primitives import check_primitives, draws_numbers
from egnas_jax.nn.runs_of_cells import run_cells
from egnas_jax.nn.stem_and_head import (
    auxiliary,
    classify,
    images_innermost,
    init_auxiliary,
    init_linear,
    init_stem,
    stem,
)
from egnas_jax.space import Genotype, Topology
from egnas_jax.space.paths import check_path
from egnas_jax.space.stages import network_stages
from egnas_jax.types import Array, Key, PyTree

Logits = Float[Array, "N classes"]


class NetworkInit(Protocol):
    def __call__(
        self, key: Key, image_shape: tuple[int, int, int] = (32, 32, 3)
    ) -> PyTree:
        """Draws the initial variables of a derived network.

        Args:
          key: random key.
          image_shape: (H, W, C) of the images.

        Returns:
          {"params", "batch_stats"}, all leaves f32.

        Raises:
          ValueError: the network or its auxiliary head cannot read such images.
        """


class NetworkApply(Protocol):
    def __call__(
        self,
        variables: PyTree,
        images: Float[Array, "N H W C"],
        *,
        train: bool = False,
        key: Key | None = None,
        drop_path: Float[Array, ""] | float = 0.0,
    ) -> tuple[Logits, Logits | None, PyTree]:
        """Runs the network on a batch of images.

        Args:
          variables: {"params", "batch_stats"} of `NetworkInit`.
          images: the batch. The activations have its dtype; parameters, batch_stats and
            logits are f32 in any case (nn/precision.py).
          train: whether norms use the batch's statistics and update the running ones.
          key: random key of drop path, and of primitives that draw; may be None where
            nothing is dropped. Primitives then draw by a constant key, so that the
            result is a function of variables and images.
          drop_path: probability with which, in training, each path of each image is
            dropped now; the one in the configuration belongs to the last epoch.

        Returns:
          Logits f32[N, classes]; the logits of the auxiliary head, or None in
          evaluation and without a head; the new batch_stats.

        Raises:
          ValueError: images that do not fit, or no key to drop paths by.
        """


class Network(NamedTuple):
    """A derived network as pure functions.

    Attributes:
      genotype: the cells.
      config: the network around the cells.
      init: draws the initial variables.
      apply: runs the network.
      draws: whether a primitive of the cells draws random numbers.
    """

    genotype: Genotype | Topology
    config: NetworkConfig
    init: NetworkInit
    apply: NetworkApply
    draws: bool = False


@functools.cache
def make_network(genotype: Genotype | Topology, config: NetworkConfig) -> Network:
    """Makes the network of a genotype.

    Equal arguments give the same functions, so that JAX reuses compiled programs.

    Raises:
      ValueError: a cell that is used has no path from its inputs to its output, the
        network cannot have a setting of the configuration, or a primitive of a user's
        own cannot be traced, or returns what it must not.
    """
    check_network(genotype, config)
    forward = FORWARD[genotype.macro]
    draws = any(draws_numbers(genotype.primitives_of(kind)) for kind in genotype.kinds)

    def init(key: Key, image_shape: tuple[int, int, int] = (32, 32, 3)) -> PyTree:
        check_image_shape(config, image_shape)
        leaves = leaves_of(genotype, config, image_shape[-1])
        return {name: draw(key, tree) for name, tree in leaves.items()}

    def apply(
        variables: PyTree,
        images: Float[Array, "N H W C"],
        *,
        train: bool = False,
        key: Key | None = None,
        drop_path: Float[Array, ""] | float = 0.0,
    ) -> tuple[Logits, Logits | None, PyTree]:
        check_image_shape(config, images.shape[1:])
        drops = drops_paths(train, drop_path)
        if drops and key is None:
            raise ValueError(f"drop_path is {drop_path}, so a key is needed: key=...")
        options = {"key": key if drops else None, "drop_path": drop_path}
        if draws:
            options["drawing"] = pass_key(key)
        return forward(genotype, config, variables, images, train=train, **options)

    return Network(genotype, config, init, apply, draws)


def check_network(genotype: Genotype | Topology, config: NetworkConfig) -> None:
    """Refuses what a network cannot be made of: cells, primitives and settings.

    Raises:
      ValueError: a cell, a setting or a primitive is refused, see `make_network`.
    """
    if genotype.macro == Topology.macro:
        topology_network.check_config(genotype, config)
        kinds = genotype.kinds
    else:
        cells = cell_plan(genotype, config)
        kinds = sorted({cell.kind for cell in cells})
        for cell in cells:
            _check_sizes(genotype, cell)
    for kind in kinds:
        check_path(genotype, kind)
        names = [name for name, _, _ in genotype.edges_of(kind)]
        check_primitives(names, config.channels)


def _check_sizes(genotype: Genotype, cell: CellPlan) -> None:
    """Refuses a cell that halves the image and has an input in its output."""
    inputs = [n for n in genotype.concat(cell.kind) if n < genotype.num_inputs]
    if cell.reduction and inputs:
        raise ValueError(
            f"The output of the {cell.kind} cell has its input {inputs[0]}, which is "
            f"twice as large where a stage begins with such a cell of stride 2. Give "
            f"that stage the other kind of cell, or leave {inputs[0]} out of "
            f"{cell.kind}_concat."
        )


def drops_paths(train: bool, drop_path: Array | float) -> bool:
    """Whether a call drops paths: in training, unless the probability is a plain 0."""
    return train and not (isinstance(drop_path, float | int) and drop_path == 0)


def check_image_shape(config: NetworkConfig, shape: tuple[int, ...]) -> None:
    """Refuses images that the network cannot halve, or that its head cannot read.

    Args:
      config: configuration of the network.
      shape: (H, W, C) of the images.

    Raises:
      ValueError: the shape is not three numbers, or a side does not fit.
    """
    frame, stages = FRAMES[config.frame], network_stages(config.stages, config.layers)
    strides = [*(stride for _, stride in frame.stem), *(s.stride for s in stages)]
    halvings = strides.count(2)
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
            f"(auxiliary=False; --no-auxiliary), or resize the images."
        )


def runs_of(
    genotype: Genotype, config: NetworkConfig
) -> tuple[tuple[CellPlan, tuple[int, ...]], ...]:
    """The runs of neighbouring equal cells: their plan and their indices.

    A cell that halves the image is a run of its own.
    """
    cells = cell_plan(genotype, config)

    def key(index: int) -> tuple:
        return run_key(cells, index), cells[index]

    runs = [tuple(run) for _, run in itertools.groupby(range(len(cells)), key=key)]
    return tuple((cells[indices[0]], indices) for indices in runs)


def leaves_of(
    genotype: Genotype | Topology, config: NetworkConfig, image_channels: int
) -> PyTree:
    """The leaves of a network: {"params", "batch_stats"}, trees of `nn.init.Leaf`."""
    return LEAVES[genotype.macro](genotype, config, image_channels)


def _darts_leaves(genotype, config, image_channels) -> PyTree:
    frame = FRAMES[config.frame]
    stem_params, stem_stats = init_stem(frame, config.channels, image_channels)
    runs = []
    for plan, indices in runs_of(genotype, config):
        trees = _cell_leaves(genotype, plan)
        runs.append([stack_leaves(tree, len(indices)) for tree in trees])
    cells = cell_plan(genotype, config)
    last = output_channels(genotype, cells[-1])
    params = {
        "stem": stem_params,
        "runs": [run for run, _ in runs],
        "classifier": init_linear(last, config.num_classes),
    }
    stats = {"stem": stem_stats, "runs": [run for _, run in runs]}
    if config.auxiliary:
        channels = output_channels(genotype, cells[last_reduction(cells)])
        head = init_auxiliary(frame, channels, config.num_classes)
        params["auxiliary"], stats["auxiliary"] = head
    return {"params": params, "batch_stats": stats}


def _cell_leaves(genotype, plan):
    input_params, input_stats = init_cell_inputs(plan, affine=True)
    params, stats = init_cell(genotype, plan.kind, plan.channels, plan.reduction)
    return input_params | {"edges": params}, input_stats | {"edges": stats}


def _forward_darts(
    genotype, config, variables, images, *, train, key, drop_path, drawing=None
) -> tuple[Array, Array | None, PyTree]:
    """Stem, runs of cells, global average, classifiers."""
    options = {"key": key, "drop_path": drop_path, "drawing": drawing}
    run_cell = functools.partial(_run_cell, genotype, train=train, **options)
    params, stats = variables["params"], variables["batch_stats"]
    frame, x = FRAMES[config.frame], images_innermost(images)
    states, stem_stats = stem(frame, params["stem"], stats["stem"], x, train)
    new_stats = {"stem": stem_stats, "runs": []}
    if config.auxiliary:
        new_stats["auxiliary"] = stats["auxiliary"]
    auxiliary_logits = None
    looped = lowering.rules_for().looped_cells or not train
    head = last_reduction(cell_plan(genotype, config)) if config.auxiliary else None
    for position, (plan, indices) in enumerate(runs_of(genotype, config)):
        cell = functools.partial(run_cell, plan)
        cell = jax.checkpoint(cell) if config.remat else cell
        scanned = params["runs"][position], stats["runs"][position], jnp.array(indices)
        states, run_stats = run_cells(cell, tuple(states), scanned, looped=looped)
        new_stats["runs"].append(run_stats)
        if train and indices[-1] == head:
            auxiliary_logits, new_stats["auxiliary"] = auxiliary(
                frame, params["auxiliary"], stats["auxiliary"], states[1], train
            )
            # torch's head rectifies its input in place. Every cell rectifies its inputs
            # anyway, so this matters only where the head reads the last cell, in
            # networks of at most three layers.
            states = states[0], rectify(states[1])
    return classify(params["classifier"], states[1]), auxiliary_logits, new_stats


def _run_cell(genotype, plan, states, scanned, *, train, key, drop_path, drawing):
    """Runs one cell with its preprocessing, as a step of a scan over states."""
    params, stats, index = scanned
    older, newer = states
    inputs, input_stats = preprocess_inputs(
        plan, (params, stats), older, newer, train=train
    )
    factors = None
    if key is not None:
        pairs, images = len(getattr(genotype, plan.kind)), newer.shape[-1]
        factors = keep_factors(
            jax.random.fold_in(key, index), pairs, images, drop_path, newer.dtype
        )
    out, edge_stats = derived_cell(
        genotype,
        plan.kind,
        (params["edges"], stats["edges"]),
        inputs,
        train=train,
        factors=factors,
        key=within(drawing, index),
        halves=plan.reduction,
    )
    return (newer, out), input_stats | {"edges": edge_stats}


# macro structure -> the functions that describe and run its networks
LEAVES = {"darts": _darts_leaves, "nasbench201": topology_network.leaves_of}
FORWARD = {"darts": _forward_darts, "nasbench201": topology_network.forward}
