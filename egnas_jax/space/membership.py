"""Finds out whether a genotype is one of a space.

A cell that keeps more than two edges of a node is a chain of nodes, as `all_edges`
writes it. Its links are no nodes of the space.
"""

from collections.abc import Iterator

from egnas_jax.space.base import Space
from egnas_jax.space.genotype import Genotype
from egnas_jax.space.graph import cell_name
from egnas_jax.space.topology import Topology


def check_member(space: Space, genotype: Genotype | Topology) -> None:
    """Refuses a genotype with an edge twice, or with parts that a space lacks.

    An edge that is left out, or is `none`, computes nothing and is always allowed. In
    a cell whose output is its last node alone, links of chains cannot be told from
    nodes: where it has more nodes than the space, only primitives are compared.

    Args:
      space: what the genotype must be one of.
      genotype: of the class that the macro structure of the space has.

    Raises:
      ValueError: the message names the first part that the space lacks, or the first
        edge that is there twice.
    """
    for kind in space.kinds:
        if _hides_links(space, genotype, kind):
            _check_names(space, genotype, kind)
            continue
        number, seen = _numbers(space, genotype, kind), set()
        for name, *ends in _folded(genotype, kind, number):
            edge = tuple(ends)
            if name == "none":
                continue
            _check_edge(space, kind, name, edge)
            if edge in seen:
                raise ValueError(
                    f"the {cell_name(kind)} of its result has the edge {edge} twice, "
                    f"but a derived edge has one primitive. Leave one out, or give "
                    f"none for it."
                )
            seen.add(edge)


def _hides_links(space, genotype, kind) -> bool:
    """Whether a cell may have links of chains that look like nodes."""
    last = max(target for _, _, target in genotype.edges_of(kind))
    return (
        isinstance(genotype, Genotype)
        and space.output == "last"
        and genotype.concat(kind) == (last,)
        and last > space.nodes[-1]
    )


def _check_names(space, genotype, kind):
    """Refuses primitives that no edge of a kind of cell has."""
    edges = range(space.num_edges)
    allowed = {name for edge in edges for name in space.primitives_of(kind, edge)}
    for name, _, _ in genotype.edges_of(kind):
        if name not in {*allowed, "none", "skip_connect"}:  # which links chains
            raise ValueError(
                f"the {cell_name(kind)} of its result has the primitive {name}, but in "
                f"the space {space.name} an edge has one of "
                f"{', '.join(n for n in space.primitives if n in allowed)}."
            )


def _numbers(space, genotype, kind) -> dict[int, int]:
    """The number that each node of a cell has in the space; links have none."""
    outputs = tuple(sorted(genotype.concat(kind)))
    last = max(target for _, _, target in genotype.edges_of(kind))
    nodes = space.nodes
    if space.output == "last" and outputs == (last,) and last == nodes[-1]:
        outputs = tuple(nodes)  # no node is a link of a chain
    if len(outputs) != len(nodes) or outputs[-1] != last or outputs[0] < nodes[0]:
        wanted = "the last one" if space.output == "last" else "each of them"
        raise ValueError(
            f"the {cell_name(kind)} of its result has the nodes {nodes[0]} to {last} "
            f"and the output nodes {list(outputs)}, but a cell of the space "
            f"{space.name} has the nodes {nodes[0]} to {nodes[-1]}, and its output is "
            f"{wanted}."
        )
    inputs = range(space.num_inputs)
    return dict(zip((*inputs, *outputs), (*inputs, *nodes), strict=True))


def _folded(genotype, kind, number) -> Iterator[tuple[str, int, int]]:
    """The edges of a cell between the nodes of the space, with chains put together."""
    links: dict[int, list] = {}
    for name, source, target in genotype.edges_of(kind):
        edges = [(name, number.get(source))]
        if source in links:
            if name not in ("none", "skip_connect"):
                raise ValueError(
                    f"node {source} of the {cell_name(kind)} of its result has an edge "
                    f"with {name} to node {target}, but is no output node. Only a "
                    f"skip_connect may leave such a node: it adds the edges of node "
                    f"{source} to those of node {target}."
                )
            edges = links[source] if name == "skip_connect" else []
        if target in number:
            yield from ((*edge, number[target]) for edge in edges)
        else:
            links.setdefault(target, []).extend(edges)


def _check_edge(space, kind, name, edge):
    """Refuses an edge that the space lacks, or a primitive that the edge lacks."""
    if edge not in space.edges:
        raise ValueError(
            f"the {cell_name(kind)} of its result has the edge {edge}, which the space "
            f"{space.name} lacks. Its edges: {', '.join(map(str, space.edges))}."
        )
    allowed = space.primitives_of(kind, space.edges.index(edge))
    if name not in allowed:
        raise ValueError(
            f"the edge {edge} of the {cell_name(kind)} of its result has the primitive "
            f"{name}, but in the space {space.name} it has {' or '.join(allowed)}."
        )
