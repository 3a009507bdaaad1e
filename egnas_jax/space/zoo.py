"""Loads published genotypes with their sources, sizes and reported results.

The genotypes are copied from the repositories that `source` names. Parameters are
counted in the standard networks of DARTS (36 channels and 20 cells on CIFAR; 48
channels and 14 cells on ImageNet) without the auxiliary head. Published sizes are those
that the papers state.
"""

import importlib.resources
import json
from typing import NamedTuple

from egnas_jax.space.genotype import Genotype


class ZooEntry(NamedTuple):
    """A published genotype.

    Attributes:
      genotype: its cells.
      source: repository and file that it is copied from.
      params_cifar10, params_cifar100, params_imagenet: parameters of the standard
        networks, with 10, 100 and 1000 classes.
      published: reported results by name: sizes in millions, errors and accuracies as
        fractions, search cost in GPU-days, and who reports them. Empty if no report is
        known.
      note: what a user should know before citing it; may be empty.
    """

    genotype: Genotype
    source: str
    params_cifar10: int
    params_cifar100: int
    params_imagenet: int
    published: dict[str, float | str]
    note: str


def _load() -> dict[str, ZooEntry]:
    file = importlib.resources.files(__package__).joinpath("zoo.json")
    entries = json.loads(file.read_text("utf-8"))
    return {name: _entry(**fields) for name, fields in entries.items()}


def _entry(
    *, normal, normal_concat, reduce, reduce_concat, note="", **fields
) -> ZooEntry:
    genotype = Genotype(normal, normal_concat, reduce, reduce_concat)
    return ZooEntry(genotype=genotype, note=note, **fields)


zoo: dict[str, ZooEntry] = _load()
