"""Builds the programs of one mixed cell: a tenth of a supernet's compilation.

The cell is the first normal one, without its preprocessing.

Dims: P individuals, N images, C channels, H, W sides.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import rows, traffic
from benchmarks.deviceless.request import Request
from benchmarks.deviceless.sizes import Size
from egnas_jax.nn import lowering
from egnas_jax.nn.cell import CellSpec, init_cell, mixed_cell
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


def _cell(size: Size, precision: str, images: int) -> Cell:
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


def cell_population(train: bool) -> Callable[[Size, str], Request]:
    """Sends P individuals through one cell; weights and statistics are shared.

    Args:
      train: whether norms use the statistics of the batch.
    """

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


def cell_step(size: Size, precision: str) -> Request:
    """Computes gradients of one cell in training, under a given cotangent."""
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
