"""Finds out whether the output of a derived cell depends on its inputs."""

from egnas_jax.space.genotype import Genotype
from egnas_jax.space.topology import Topology


def check_path(genotype: Genotype | Topology, kind: str) -> None:
    """Refuses a cell whose output does not depend on its inputs.

    Args:
      genotype: the cells.
      kind: of the cell.

    Raises:
      ValueError: every path to the output nodes contains `none`.
    """
    reached = set(range(genotype.num_inputs))
    for primitive, source, target in genotype.edges_of(kind):
        if primitive != "none" and source in reached:
            reached.add(target)
    outputs = genotype.concat(kind)
    if not reached & set(outputs):
        raise ValueError(
            f"The {kind} cell has no path from an input to its output nodes "
            f"{list(outputs)}: every edge on the way is none. Choose another genotype."
        )
