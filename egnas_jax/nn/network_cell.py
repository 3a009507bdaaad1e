"""Computes one cell of a derived network: a chosen primitive per edge, nodes added up.

Edges that read the same state by the same primitive run stacked on one axis, as in the
mixed cell. Both kinds of cell therefore share the primitives and their kernels.

Source: `Cell` of model.py of the DARTS family; drop path (Larsson et al., ICLR 2017) as
its `drop_path`.

Dims: E edges of the cell, S stacked edges, C channels, H, W sides,
N images.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp

from egnas_jax.nn import lowering
from egnas_jax.nn.drawing_keys import edge_keys, within
from egnas_jax.nn.primitive import source_of
from egnas_jax.nn.primitives import kernel_of
from egnas_jax.space import Genotype, Topology
from egnas_jax.types import Array, Key, PyTree


class Stack(NamedTuple):
    """The edges of a cell that read one state by one primitive.

    Attributes:
      name: key of their arrays, "SOURCE PRIMITIVE".
      primitive: their primitive.
      source: the state that they read.
      edges: their positions among the edges of the cell.
      stride: 2 where a reduction cell reads its inputs, else 1.
    """

    name: str
    primitive: str
    source: int
    edges: tuple[int, ...]
    stride: int

    @property
    def identity(self) -> bool:
        """Whether they pass the state on unchanged; such edges are never dropped."""
        return kernel_of(self.primitive).identity and self.stride == 1


def stacks_of(
    genotype: Genotype | Topology, kind: str, halves: bool | None = None
) -> tuple[Stack, ...]:
    """The stacks of a cell, by ascending source state.

    Args:
      genotype: the cells.
      kind: of the cell.
      halves: whether it halves the image; None: as `reduce` cells of DARTS do.
    """
    edges, halves = {}, kind == "reduce" if halves is None else halves
    for edge, (primitive, source, _) in enumerate(genotype.edges_of(kind)):
        edges.setdefault((source, primitive), []).append(edge)
    return tuple(
        Stack(
            name=f"{source} {primitive}",
            primitive=primitive,
            source=source,
            edges=tuple(edges[source, primitive]),
            stride=2 if halves and source < genotype.num_inputs else 1,
        )
        for source, primitive in sorted(edges)
    )


def init_cell(
    genotype: Genotype | Topology,
    kind: str,
    channels: int,
    halves: bool | None = None,
) -> tuple[PyTree, PyTree]:
    """Leaves of a cell: parameters and batch_stats, by the names of its stacks."""
    leaves = {
        stack.name: kernel_of(stack.primitive).init(
            len(stack.edges), channels, stack.stride, True
        )
        for stack in stacks_of(genotype, kind, halves)
    }
    params = {name: params for name, (params, _) in leaves.items() if params}
    return params, {name: stats for name, (_, stats) in leaves.items() if stats}


def derived_cell(
    genotype: Genotype | Topology,
    kind: str,
    variables: tuple[PyTree, PyTree],
    inputs: tuple[Array, ...],
    *,
    train: bool,
    factors: Array | None = None,
    key: Key | None = None,
    halves: bool | None = None,
) -> tuple[Array, PyTree]:
    """Computes the output of a cell: its output nodes, concatenated.

    Args:
      genotype: the cells.
      kind: of the cell, such as "normal".
      variables: parameters and batch_stats, arrays that `init_cell` describes.
      inputs: the preprocessed inputs, [C, H, W, N].
      train: whether norms use the batch's statistics and update the running ones.
      factors: result of `drop_path.keep_factors`, or None to drop nothing.
      key: of the cell, by which primitives draw; None where none does.
      halves: see `stacks_of`.

    Returns:
      [nodes * C, H', W', N] and the new batch_stats.
    """
    first, targets = len(inputs), [target for *_, target in genotype.edges_of(kind)]
    sums = dict.fromkeys(sorted(targets))
    states, new_stats = list(inputs), {}
    stacks = stacks_of(genotype, kind, halves)
    by_source = itertools.groupby(stacks, lambda s: s.source)
    by_source = {source: list(stacks) for source, stacks in by_source}
    for state in range(first + len(sums)):
        if state >= first:
            states.append(lowering.materialise(sums[state]))
        source = source_of(states[state][None])
        for stack in by_source.get(state, ()):
            options = {"train": train, "factors": factors, "key": within(key, state)}
            outputs, stack_stats = _outputs(stack, variables, source, **options)
            if stack_stats:
                new_stats[stack.name] = stack_stats
            for edge, output in zip(stack.edges, outputs, strict=True):
                node = targets[edge]
                sums[node] = output if sums[node] is None else sums[node] + output
    return jnp.concatenate([states[node] for node in genotype.concat(kind)]), new_stats


def _outputs(stack, variables, source, *, train, factors, key):
    """The output of each of the S edges of a stack, [C, H', W', N]; new batch_stats."""
    params, stats = variables
    kernel = kernel_of(stack.primitive)
    optional = {}
    if kernel.draws:
        optional["keys"] = edge_keys(key, stack.primitive, stack.edges)
    output, new_stats = kernel.apply(
        params.get(stack.name, {}),
        stats.get(stack.name, {}),
        source,
        stride=stack.stride,
        train=train,
        kernels=lowering.kernels_for("auto", train, source.raw.shape[1]),
        **optional,
    )
    value = output.value()
    if factors is not None and not stack.identity:
        value = value * factors[jnp.asarray(stack.edges)][:, None, None, None, :]
    # The value has one entry for all edges where it does not depend on the edge.
    shared = len(value) == 1
    return [value[0 if shared else i] for i in range(len(stack.edges))], new_stats
