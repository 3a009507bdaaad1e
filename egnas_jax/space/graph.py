"""Checks the graph of a cell: its edges lead from the inputs through every node.

Nodes are numbered from the inputs: those come first, then the intermediate nodes. An
edge is a pair (source, target) with source < target, so a cell is computed in the order
of its nodes. Every graph without a cycle can be numbered so.

Dims: E edges of a cell.
"""

import graphlib
from collections.abc import Iterable
from typing import Any

from egnas_jax.space.pairs import integer

Edge = tuple[int, int]


def checked_edges(
    where: str, edges: Any, num_inputs: int, num_nodes: int
) -> tuple[Edge, ...]:
    """Returns the edges of a cell, checked and sorted by target, then by source.

    Args:
      where: what the edges belong to, as messages name it ("The space mine").
      edges: pairs (source, target); None for an edge from every node to every later one
        that is no input.
      num_inputs: the first nodes, which no edge leads to.
      num_nodes: intermediate nodes.

    Raises:
      ValueError: an edge is no pair of nodes, leads to an input or to its own node, or
        stands twice; a node has no in-edge; there is a cycle; or an edge leads from a
        node to an earlier one.
    """
    num_all = num_inputs + num_nodes
    targets = range(num_inputs, num_all)
    if edges is None:
        return tuple((source, target) for target in targets for source in range(target))
    edges = read_edges(where, edges)
    for edge in edges:
        _check_edge(where, edge, num_inputs, num_all)
    if len(set(edges)) < len(edges):
        twice = next(edge for edge in edges if edges.count(edge) > 1)
        raise ValueError(f"{where} has the edge {twice} more than once: keep one.")
    _check_order(where, edges, num_inputs)
    reached = {target for _, target in edges}
    for target in targets:
        if target not in reached:
            raise ValueError(
                f"{where} has no edge to node {target}. Add one from any of the nodes "
                f"0 to {target - 1}, or leave the node out (num_nodes={num_nodes - 1})."
            )
    return tuple(sorted(edges, key=lambda edge: (edge[1], edge[0])))


def check_used(
    where: str, edges: Iterable[Edge], outputs: Iterable[int], num_all: int
) -> None:
    """Refuses intermediate nodes that no output of the cell depends on.

    Args:
      where: see `checked_edges`.
      edges: of the cell.
      outputs: nodes that make up the output of the cell.
      num_all: inputs and intermediate nodes.

    Raises:
      ValueError: a node that is no output has no edge to a later node.
    """
    sources = {source for source, _ in edges}
    for node in sorted({target for _, target in edges} - sources - set(outputs)):
        raise ValueError(
            f"{where} has no edge from node {node}, and the output of its cell is node "
            f"{num_all - 1} alone. Add an edge from node {node} to a later one, or set "
            f'output="concat".'
        )


def reached_nodes(edges: Iterable[Edge], num_inputs: int) -> set[int]:
    """Returns the nodes that a path leads to from an input, inputs included.

    Args:
      edges: of the cell, sorted by target.
      num_inputs: the first nodes.
    """
    reached = set(range(num_inputs))
    for source, target in edges:
        if source in reached:
            reached.add(target)
    return reached


def cell_name(kind: str) -> str:
    """Returns what messages call a cell: "normal cell", or "cell" where all are one."""
    return "cell" if kind == "cell" else f"{kind} cell"


def read_edges(where: str, edges: Any) -> list[Edge]:
    """Returns edges as pairs of int, in the order in which they are given.

    Args:
      where: see `checked_edges`.
      edges: lists, tuples or rows of an array, of whole numbers.

    Raises:
      ValueError: they are no pairs of whole numbers.
    """
    if isinstance(edges, str) or not isinstance(edges, Iterable):
        raise ValueError(
            f"{where}: edges must be pairs (source, target), got {edges!r}."
        )
    return [_read_edge(where, edge) for edge in edges]


def _read_edge(where, edge) -> Edge:
    try:
        source, target = (integer("a node", node) for node in edge)
    except (TypeError, ValueError):
        raise ValueError(
            f"{where}: an edge is a pair (source, target) of whole numbers, got "
            f"{edge!r}."
        ) from None
    return source, target


def _check_edge(where, pair, num_inputs, num_all):
    """Refuses an edge that names an unknown node, an input or one node twice."""
    unknown = [node for node in pair if node not in range(num_all)]
    if unknown:
        raise ValueError(
            f"{where}: the edge {pair} names node {unknown[0]}, but the nodes are 0 to "
            f"{num_all - 1}, of which the first {num_inputs} are inputs."
        )
    if pair[0] == pair[1]:
        raise ValueError(f"{where}: the edge {pair} leads from a node to itself.")
    if pair[1] < num_inputs:
        raise ValueError(
            f"{where}: the edge {pair} leads to an input. Allowed targets: "
            f"{num_inputs} to {num_all - 1}."
        )


def _check_order(where, edges, num_inputs):
    """Refuses a cycle, and nodes that are not numbered in the order of the edges."""
    backward = [edge for edge in edges if edge[0] > edge[1]]
    if not backward:
        return
    sources = {target: [s for s, t in edges if t == target] for _, target in edges}
    try:
        order = list(graphlib.TopologicalSorter(sources).static_order())
    except graphlib.CycleError as error:
        cycle = " -> ".join(map(str, error.args[1]))
        raise ValueError(
            f"{where} has a cycle of edges, {cycle}. Leave one of them out: a cell is "
            f"computed node by node."
        ) from None
    inner = [node for node in order if node >= num_inputs]
    number = {node: num_inputs + i for i, node in enumerate(inner)}
    renamed = [(number.get(s, s), number.get(t, t)) for s, t in edges]
    raise ValueError(
        f"{where}: the edge {backward[0]} leads to an earlier node. Number the nodes "
        f"so that every edge leads to a later one. The same graph: "
        f"{sorted(renamed, key=lambda edge: edge[::-1])}."
    )
