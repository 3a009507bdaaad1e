"""Finds out whether the output of a derived cell depends on its inputs."""

from egnas_jax.space.genotype import Genotype
from egnas_jax.space.graph import cell_name, reached_nodes
from egnas_jax.space.topology import Topology


def check_path(genotype: Genotype | Topology, kind: str) -> None:
    """Refuses a cell whose output does not depend on its inputs.

    Args:
      genotype: the cells.
      kind: of the cell.

    Raises:
      ValueError: every path to the output nodes contains `none`.
    """
    edges = [edge for name, *edge in genotype.edges_of(kind) if name != "none"]
    outputs = genotype.concat(kind)
    if not reached_nodes(edges, genotype.num_inputs) & set(outputs):
        raise ValueError(
            f"The {cell_name(kind)} has no path from an input to its output nodes "
            f"{list(outputs)}: every edge on the way is none. Choose another genotype."
        )
