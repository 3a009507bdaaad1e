"""Published genotypes by name, with their sources, sizes and reported results.

The texts are what the repositories named in `source` hold. The exact counts are of
the standard frame of DARTS (36 channels, 20 cells on CIFAR; 48 channels, 14 cells on
ImageNet), without the auxiliary head; published sizes are the papers' own.
"""

import importlib.resources
import json
from typing import NamedTuple

from egnas_jax.space.genotype import Genotype


class ZooEntry(NamedTuple):
    """A published genotype.

    Attributes:
      genotype: its cells.
      source: repository and file that hold it.
      params_cifar10, params_cifar100, params_imagenet: weights of the standard frame
        with 10, 100 and 1000 classes.
      published: what was reported of it, by name: sizes in millions, errors and
        accuracies as fractions, search cost in GPU-days, and who reports it. Empty
        where nothing was found.
      note: what a user should know before quoting it; may be empty.
    """

    genotype: Genotype
    source: str
    params_cifar10: int
    params_cifar100: int
    params_imagenet: int
    published: dict[str, float | str]
    note: str


def _load() -> dict[str, ZooEntry]:
    text = (
        importlib.resources.files(__package__).joinpath("zoo.json").read_text("utf-8")
    )
    return {name: _entry(**fields) for name, fields in json.loads(text).items()}


def _entry(
    *, normal, normal_concat, reduce, reduce_concat, note="", **fields
) -> ZooEntry:
    genotype = Genotype(normal, normal_concat, reduce, reduce_concat)
    return ZooEntry(genotype=genotype, note=note, **fields)


zoo: dict[str, ZooEntry] = _load()
