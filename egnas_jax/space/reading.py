"""Genotypes of either form, from their text or JSON."""

import json

from egnas_jax.space.genotype import Genotype
from egnas_jax.space.topology import FIELD, Topology


def parse_genotype(text: str) -> Genotype | Topology:
    """Reads `Genotype(...)` or, where the text begins with a bar, `|op~0|+...`.

    Raises:
      ValueError: the text is neither.
    """
    return (Topology if text.lstrip().startswith("|") else Genotype).parse(text)


def genotype_from_json(text: str) -> Genotype | Topology:
    """Reads what `to_json` of either form writes.

    Raises:
      ValueError: the text is neither.
    """
    try:
        fields = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        fields = None  # the form's own reader says what is wrong
    found = isinstance(fields, dict) and FIELD in fields
    return (Topology if found else Genotype).from_json(text)
