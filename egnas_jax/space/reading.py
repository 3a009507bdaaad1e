"""Reads genotypes of either family from their text or JSON form."""

import json

from egnas_jax.space.genotype import Genotype
from egnas_jax.space.topology import FIELD, Topology

GENOTYPES = (Genotype, Topology)


def parse_genotype(text: str) -> Genotype | Topology:
    """Reads `Genotype(...)`, or `|op~0|+...` if the text begins with a bar.

    Raises:
      ValueError: the text is neither.
    """
    return (Topology if text.lstrip().startswith("|") else Genotype).parse(text)


def genotype_from_json(text: str) -> Genotype | Topology:
    """Reads what `to_json` of either class writes.

    Raises:
      ValueError: the text is neither.
    """
    try:
        fields = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        fields = None  # `Genotype.from_json` raises the error
    is_topology = isinstance(fields, dict) and FIELD in fields
    return (Topology if is_topology else Genotype).from_json(text)
