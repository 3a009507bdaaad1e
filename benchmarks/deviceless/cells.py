"""Builds the programs of one mixed cell: a tenth of a supernet's compilation.

The cell is the first normal one, without its preprocessing.

Dims: P individuals, N images, C channels, H, W sides.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import parity, rows, traffic
from benchmarks.deviceless.request import Request
from benchmarks.deviceless.sizes import Size
from egnas_jax.nn import lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_spec import CellSpec
from egnas_jax.nn.init import draw
from egnas_jax.nn.supernet import cells_of
from egnas_jax.space import SPACES
from egnas_jax.types import Mixing, PyTree


class Cell(NamedTuple):
    """A mixed cell and the shapes of its arrays.

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


class CellProgram(NamedTuple):
    """A program of one mixed cell.

    Attributes:
      function: (variables, *others) -> what the program computes.
      variables: shapes of parameters and batch_stats.
      others: shapes of its other arguments.
      images: of a call, over all individuals.
      bytes: that a call must move.
    """

    function: Callable
    variables: tuple[PyTree, PyTree]
    others: tuple[PyTree, ...]
    images: int
    bytes: int


def _cell(case: parity.Case, precision: str, images: int) -> Cell:
    config, side = rows.in_precision(case, precision).config, case.side
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
    return Cell(
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


def population_program(case: parity.Case, precision: str, train: bool) -> CellProgram:
    """Sends P individuals through one cell; weights and statistics are shared.

    Args:
      case: supernet, with its lowering, and numbers of individuals and images.
      precision: a key of `rows.PRECISIONS`.
      train: whether norms use the statistics of the batch.
    """
    individuals, images = case.individuals, case.images
    cell = _cell(case, precision, images)

    def score(variables, inputs, mixing):
        def one(inputs, mixing):
            return cell.run(variables, inputs, mixing, train)[0]

        return jax.vmap(one)(inputs, mixing)

    def stacked(leaf):
        return jax.ShapeDtypeStruct((individuals, *leaf.shape), leaf.dtype)

    return CellProgram(
        function=score,
        variables=cell.variables,
        others=jax.tree.map(stacked, ((cell.input, cell.input), cell.mixing)),
        images=individuals * images,
        bytes=individuals * images * cell.bytes,
    )


def step_program(case: parity.Case, precision: str) -> CellProgram:
    """Computes gradients of one cell in training, under a given cotangent.

    Args:
      case, precision: see `population_program`.
    """
    cell = _cell(case, precision, case.batch)

    def step(variables, inputs, mixing, cotangent):
        params, stats = variables

        def output(params, inputs):
            return cell.run((params, stats), inputs, mixing, True)

        _, pull, new_stats = jax.vjp(output, params, inputs, has_aux=True)
        return pull(cotangent), new_stats

    return CellProgram(
        function=step,
        variables=cell.variables,
        others=((cell.input, cell.input), cell.mixing, cell.output),
        images=case.batch,
        bytes=case.batch * traffic.STEP_PASSES * cell.bytes,
    )


PROGRAMS: dict[str, Callable[[parity.Case, str], CellProgram]] = {
    "cell-running": functools.partial(population_program, train=False),
    "cell-batch": functools.partial(population_program, train=True),
    "cell-step": step_program,
}


def cell_request(name: str) -> Callable[[Size, str], Request]:
    """Returns (size, precision) -> the request of a program of `PROGRAMS`."""

    def build(size: Size, precision: str) -> Request:
        program = PROGRAMS[name](size.case, precision)
        options = lowering.compiler_options()
        return Request(
            function=jax.jit(program.function, compiler_options=options),
            arguments=(program.variables, *program.others),
            images=program.images,
            bytes=program.bytes,
            multiply_adds=None,
        )

    return build
