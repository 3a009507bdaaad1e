"""Builds the programs of a search and of a retraining that are compiled for a card.

Dims: P individuals, N images, C channels, H, W sides.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import epoch, parity, rows, traffic
from egnas_jax.nn import lowering
from egnas_jax.nn.cell import CellSpec, init_cell, mixed_cell
from egnas_jax.nn.init import draw
from egnas_jax.nn.supernet import SupernetConfig, cells_of
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.search import loop
from egnas_jax.space import SPACES, Space
from egnas_jax.types import Mixing, PyTree

# A space whose programs compile in seconds; every edge has a pooling, a skip connection
# and a convolution, so each sort of kernel occurs.
SMALL_SPACE = Space(
    "deviceless_small",
    primitives=("avg_pool_3x3", "skip_connect", "dil_conv_3x3"),
    num_nodes=1,
)


class Size(NamedTuple):
    """How large the programs are.

    Attributes:
      case: population and weight step.
      plan: epoch of a search.
      recipe: retraining.
    """

    case: parity.Case
    plan: epoch.Plan
    recipe: RetrainConfig


class Request(NamedTuple):
    """A program to compile.

    Attributes:
      function: a result of `jax.jit`.
      arguments: arrays or their shapes.
      images: forward passes of one image in one step, over all individuals.
      bytes: what a step must move at least (benchmarks/traffic.py), or None.
      multiply_adds: of the convolutions of a step, or None.
      steps: equal steps of one call. Loops whose turns are an argument count as one.
    """

    function: Callable
    arguments: tuple
    images: int
    bytes: int | None
    multiply_adds: int | None
    steps: int = 1


def full_size() -> Size:
    """The sizes of the default search and retraining on CIFAR-10."""
    case = parity.CASES["full"]
    return Size(case, epoch.FULL, rows.recipe(case, trial=False))


def small_size() -> Size:
    """Networks of one cell, with one node in a search; as many images as at full size.

    Individuals share the stem and what the only cell computes before the mixing, so a
    population moves less than `traffic` counts.
    """
    SPACES.setdefault(SMALL_SPACE.name, SMALL_SPACE)
    config = SupernetConfig(layers=1, space=SMALL_SPACE.name)
    case = parity.CASES["full"]._replace(config=config)
    strategy = dataclasses.replace(epoch.FULL.strategy, samples=2)
    plan = dataclasses.replace(
        epoch.FULL, supernet=config, strategy=strategy, images=512
    )
    recipe = rows.recipe(case, trial=False)
    network = dataclasses.replace(recipe.network, layers=1, auxiliary=False)
    return Size(case, plan, dataclasses.replace(recipe, network=network))


SIZES: dict[str, Callable[[], Size]] = {"full": full_size, "small": small_size}


def with_lowering(size: Size, name: str) -> Size:
    """Sets `supernet.lowering`; a retraining takes what `auto` selects."""
    config = dataclasses.replace(size.case.config, lowering=name)
    supernet = dataclasses.replace(size.plan.supernet, lowering=name)
    plan = dataclasses.replace(size.plan, supernet=supernet)
    return size._replace(case=size.case._replace(config=config), plan=plan)


def _of_row(row: rows.Row, steps: int = 1) -> Request:
    options = {"compiler_options": lowering.compiler_options(), **row.options}
    return Request(
        function=jax.jit(row.function, **options),
        arguments=row.arguments,
        images=row.images // steps,
        bytes=row.bytes,
        multiply_adds=row.products // steps,
        steps=steps,
    )


def _population(batch_stats: str):
    def build(size: Size, precision: str) -> Request:
        drawn = parity.draw(size.case)
        return _of_row(rows.population(size.case, drawn, precision, batch_stats))

    return build


def _weight_step(size: Size, precision: str) -> Request:
    return _of_row(rows.steps(size.case, parity.draw(size.case), precision, 1))


def _retraining(size: Size, precision: str) -> Request:
    row = rows.retrain(size.case, size.recipe, precision)
    return _of_row(row, rows.RETRAIN_STEPS)


def _epoch(name: str):
    """The piece of an epoch that `SearchPrograms` calls by this name."""

    def build(size: Size, precision: str) -> Request:
        plan = _in_precision(size.plan, precision)
        blank = np.zeros((2 * plan.images, plan.side, plan.side, 3), np.uint8)
        run = epoch.make_run(plan, blank, np.zeros(len(blank), np.int32))
        program = getattr(run.programs, name)  # with the images bound to it
        arguments = *program.args, run.hyperparams, loop.layout(run)
        if name == "train":
            arguments += ((jnp.int32(0), jnp.int32(1)),)
        images, passes = _images_of_piece(plan, name)
        per_image = traffic.forward_bytes(plan.supernet, plan.side)
        products = supernet_multiply_adds(plan.supernet, plan.side)
        return Request(
            function=program.func,
            arguments=arguments,
            images=images,
            bytes=images * passes * per_image,
            multiply_adds=images * passes * products,
        )

    return build


def _in_precision(plan, precision):
    dtype, _ = rows.PRECISIONS[precision]
    supernet = dataclasses.replace(plan.supernet, dtype=dtype)
    return dataclasses.replace(plan, supernet=supernet)


def _images_of_piece(plan, name) -> tuple[int, int]:
    """Images of a piece of an epoch, and its passes over each: 3 where it trains."""
    return {
        "train": (plan.batch_size, traffic.STEP_PASSES),
        "evolve": (plan.strategy.images_evaluated, 1),
        "validate": (plan.images, 1),
    }[name]


class _Cell(NamedTuple):
    """The first normal cell of a supernet, without its preprocessing.

    Attributes:
      run: (variables, two inputs, mixing, train) -> output, new batch_stats.
      variables: shapes of parameters and batch_stats.
      input, output: shapes of one batch of its inputs and its output.
      mixing: shapes of one mixing.
      bytes: that one image must move.
    """

    run: Callable
    variables: tuple[PyTree, PyTree]
    input: jax.ShapeDtypeStruct
    output: jax.ShapeDtypeStruct
    mixing: Mixing
    bytes: int


def _cell(size: Size, precision: str, images: int) -> _Cell:
    config, side = rows.in_precision(size.case, precision).config, size.case.side
    # The first cell of three is a normal one.
    plan = cells_of(dataclasses.replace(config, layers=3))[0]
    space = SPACES[config.space]
    spec = CellSpec(space, plan.kind, config.partial_channels, config.pool_bn)

    def run(variables, inputs, mixing, train):
        return mixed_cell(
            spec,
            variables,
            inputs,
            mixing,
            train=train,
            implementation=config.lowering,
        )

    def array(*shape, of=config.dtype):
        return jax.ShapeDtypeStruct(shape, jnp.dtype(of))

    edges, kinds = space.num_edges, (plan.kind,)
    return _Cell(
        run=run,
        variables=tuple(
            jax.eval_shape(lambda key, tree=tree: draw(key, tree), jax.random.key(0))
            for tree in init_cell(spec, plan.channels)
        ),
        input=array(plan.channels, side, side, images),
        output=array(space.num_nodes * plan.channels, side, side, images),
        mixing=Mixing(
            primitives=dict.fromkeys(
                kinds, array(edges, len(space.primitives), of="float32")
            ),
            edges=dict.fromkeys(kinds, array(edges, of="float32")),
        ),
        bytes=traffic.mixed_cell_bytes(config, plan, side),
    )


def _cell_population(train: bool):
    """P individuals through one cell; weights and statistics are shared."""

    def build(size: Size, precision: str) -> Request:
        individuals, images = size.case.individuals, size.case.images
        cell = _cell(size, precision, images)

        def score(variables, inputs, mixing):
            def one(inputs, mixing):
                return cell.run(variables, inputs, mixing, train)[0]

            return jax.vmap(one)(inputs, mixing)

        def stacked(leaf):
            return jax.ShapeDtypeStruct((individuals, *leaf.shape), leaf.dtype)

        per_member = jax.tree.map(stacked, ((cell.input, cell.input), cell.mixing))
        return Request(
            function=jax.jit(score, compiler_options=lowering.compiler_options()),
            arguments=(cell.variables, *per_member),
            images=individuals * images,
            bytes=individuals * images * cell.bytes,
            multiply_adds=None,
        )

    return build


def _cell_step(size: Size, precision: str) -> Request:
    """Output and gradients of one cell in training, under a given cotangent."""
    cell = _cell(size, precision, size.case.batch)

    def step(params, stats, inputs, mixing, cotangent):
        def output(params, inputs):
            return cell.run((params, stats), inputs, mixing, True)

        _, pull, new_stats = jax.vjp(output, params, inputs, has_aux=True)
        return pull(cotangent), new_stats

    inputs = cell.input, cell.input
    return Request(
        function=jax.jit(step, compiler_options=lowering.compiler_options()),
        arguments=(*cell.variables, inputs, cell.mixing, cell.output),
        images=size.case.batch,
        bytes=size.case.batch * traffic.STEP_PASSES * cell.bytes,
        multiply_adds=None,
    )


PROGRAMS: dict[str, Callable[[Size, str], Request]] = {
    "population-running": _population("running"),
    "population-batch": _population("batch"),
    "weight-step": _weight_step,
    "epoch-train": _epoch("train"),
    "epoch-evolve": _epoch("evolve"),
    "epoch-validate": _epoch("validate"),
    "retraining-step": _retraining,
    "cell-running": _cell_population(train=False),
    "cell-batch": _cell_population(train=True),
    "cell-step": _cell_step,
}
