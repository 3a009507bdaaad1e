"""Selects by perturbation: what the supernet misses most when it is gone stays.

Edges come first, in a random order: one primitive at a time gets the weight 0, the
others keep theirs, and the edge keeps the primitive whose absence costs most. Where a
node keeps two edges, nodes follow in a random order: the edge whose absence costs
least is dropped until two are left. Later decisions see the earlier ones.

`none` takes part where a derived cell may have it, as on NAS-Bench-201; not where a
node keeps two edges, as the derivation of DARTS leaves it out.

Source: DARTS-PT (Wang et al., ICLR 2021), projection.py of its reference. Ties are
its own: the first of equal primitives, the last of equal edges. A dropped edge has the
weight 0 with its bypassed channels, if the supernet has some.

Dims: G kinds of cells, E edges of a cell.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from egnas_jax.space import Space
from egnas_jax.space.genotype import PAIRS_PER_NODE
from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.studies.selection.cells import (
    CellWeights,
    Selection,
    SelectionProblem,
    goodness,
    with_edge,
    with_primitive,
    without_edges,
    without_primitives,
)

Orders = Sequence[Sequence[int]]  # kind of cell -> order of its edges or nodes


def perturbation(problem: SelectionProblem) -> Selection:
    """Selects in an order of edges and nodes that is drawn by the problem's seed.

    Args:
      problem: what is selected from.
    """
    space, rng = problem.space, np.random.default_rng(problem.seed)
    edges = [rng.permutation(space.num_edges).tolist() for _ in space.kinds]
    nodes = [rng.permutation(large_nodes(space)).tolist() for _ in space.kinds]
    return project(problem, edges, nodes)


def large_nodes(space: Space) -> list[int]:
    """Returns the nodes that lose edges: those with more than a derived node keeps.

    Args:
      space: of the cells; none loses edges where its derivation keeps all.
    """
    if not space.keeps_two_edges:
        return []
    return [node for node in space.nodes if len(space.in_edges(node)) > PAIRS_PER_NODE]


def project(
    problem: SelectionProblem, edge_orders: Orders, node_orders: Orders
) -> Selection:
    """Selects in a given order; kinds of cells take turns.

    Args:
      problem: what is selected from.
      edge_orders: of all edges of each kind of cell.
      node_orders: of the nodes of each kind that lose edges.

    Returns:
      One-hot rows and edges of 0 and 1; the trace has a step for each decision.
    """
    cells, steps = problem.start, []
    for phase, orders in ((_choose_primitive, edge_orders), (_drop_edges, node_orders)):
        for turn in _turns(orders):
            if steps and problem.finetune is not None:
                problem.finetune(cells)
            for kind, position in turn:
                cells, made = phase(problem, cells, kind, position)
                steps += made
    kept = (cells.edges != 0).astype(np.float32)
    return Selection(cells._replace(edges=kept), {"steps": steps})


def _turns(orders: Orders) -> Iterator[list[tuple[int, int]]]:
    """For each turn, pairs (kind, the next of its order)."""
    for turn in itertools.zip_longest(*orders):
        yield [(kind, next_) for kind, next_ in enumerate(turn) if next_ is not None]


def _choose_primitive(
    problem: SelectionProblem, cells: CellWeights, kind: int, edge: int
) -> tuple[CellWeights, list[dict]]:
    """The cells whose edge has kept one primitive, and the step for the trace."""
    allowed = np.flatnonzero(derivable_masks(problem.space)[kind, edge]).tolist()
    places = [(kind, edge, primitive) for primitive in allowed]
    if len(places) == 1:
        return with_primitive(cells, places[0]), []
    scores = problem.score(without_primitives(cells, places))
    values = goodness(scores, problem.options.criterion)
    kept = places[int(np.argmin(values))]  # the first of equals
    step = {
        "kind": problem.space.kinds[kind],
        "edge": list(problem.space.edges[edge]),
        "without": _by_name(problem, allowed, values),
        "kept": problem.space.primitives[kept[2]],
    }
    return with_primitive(cells, kept), [step]


def _by_name(problem, primitives, values) -> dict[str, float]:
    """Scores without each primitive; a loss is shown as one, not as minus itself."""
    sign = 1.0 if problem.options.criterion == "accuracy" else -1.0
    names = [problem.space.primitives[primitive] for primitive in primitives]
    return dict(zip(names, (sign * values).tolist(), strict=True))


def _drop_edges(
    problem: SelectionProblem, cells: CellWeights, kind: int, node: int
) -> tuple[CellWeights, list[dict]]:
    """The cells whose node has two edges left, and the steps for the trace."""
    rows, steps = list(problem.space.in_edges(node)), []
    while len(rows) > PAIRS_PER_NODE:
        scores = problem.score(without_edges(cells, kind, rows))
        values = goodness(scores, problem.options.criterion)
        last = len(values) - 1 - int(np.argmax(values[::-1]))  # the last of equals
        dropped = rows.pop(last)
        cells = with_edge(cells, kind, dropped, 0.0)
        dropped_edge = list(problem.space.edges[dropped])
        kind_name = problem.space.kinds[kind]
        steps.append({"kind": kind_name, "node": node, "dropped": dropped_edge})
    return cells, steps
