"""The options of EG-NAS, and the three sets of them that have a name.

Paper, report and reference code differ; every difference is an option here. `paper` is
what the paper and its report describe, `official` what the published code does, bug
for bug, and `reproduction` what the code of the reproduced report does.
"""

import copy
import dataclasses
from typing import ClassVar

from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.lookup import lookup
from egnas_jax.search.evaluate import STATISTICS, check_options
from egnas_jax.search.strategy import Regime
from egnas_jax.strategies.egnas.fitness import SIGNS
from egnas_jax.types import Array

CHOICES = {
    **Regime.choices,
    "batch_stats": STATISTICS,
    "centre": ("alpha", "softmax"),
    "centre_noise": ("per_sample", "shared"),
    "candidates": ("fresh", "constant", "run"),
    "sigma": ("by_update", "by_epoch", "constant"),
    "evolution": tuple(EVOLUTIONS),
    "individual_mixing": ("softmax", "normalised_softmax"),
    "similarity": ("raw", "normalised", "centred", "flattened"),
    "sign": SIGNS,
    "tie": ("first", "last"),
    "best_sample": ("fitness", "accuracy"),
    "direction": ("softmax_centred", "double_softmax", "z", "z_minus_alpha"),
}
# the upper ends are more than anybody waits for
RANGES = {
    "warmup": (0, 10**9),
    "fitness_batch_size": (1, 10**9),
    "fitness_batches": (1, 10**4),
    "noise": (0.0, 1e9),
    "sigma_start": (1e-6, 1e9),
    "sigma_floor": (0.0, 1e9),
    "population": (2, 10**5),
    "generations": (1, 10**4),
    "samples": (1, 10**4),
    "zeta": (0.0, 1e9),
    "eta": (0.0, 1e9),
    "momentum": (0.0, 1e9),
    "step": (0.0, 1e9),
}


@dataclasses.dataclass(frozen=True)
class EGNASConfig(Regime):
    """Everything in which readings of EG-NAS differ; the defaults are `paper`.

    Attributes:
      order, learning_rate_epoch, last_batch, split, augment_valid, alpha_in_clip: see
        `search.strategy.Regime`.
      warmup: epochs before the first update of alpha.
      fitness_batch_size, fitness_batches: images of a fitness batch, and batches; with
        batch statistics each batch has its own.
      batch_stats: batch norm in fitness: "batch" or "running".
      centre: populations are drawn around "alpha" or its row-wise "softmax", plus
        `noise` times a normal draw, "per_sample" or "shared" (`centre_noise`).
      candidates: keys of the individuals: "fresh" for every epoch, sample and
        generation; "constant", the same directions always; "run", the same within a
        run (its seed).
      sigma: "by_update": max(sigma_start / (s + 1), sigma_floor) at the s-th update;
        "by_epoch": at epoch s; "constant": sigma_start.
      evolution, population, generations, samples: the evolution strategy, P, T, N.
      individual_mixing: the mixing of an individual: "softmax" of its rows, or of its
        rows divided by their norms ("normalised_softmax").
      similarity: L2 between alpha and z "raw"; between softmax(alpha) and z with
        "normalised" rows; with row means removed ("centred"); or of the whole vectors
        ("flattened").
      zeta, eta, sign: of the compound fitness.
      tie: of equal individuals the "first" or the "last" wins.
      best_sample: least "fitness", or largest "accuracy" of softmax(q) (an accuracy of
        zero beats all: a defect of the reference).
      direction: s*, "softmax_centred" = softmax(z) - 1 / K; "double_softmax" =
        softmax(q); "z"; "z_minus_alpha".
      momentum, step: v <- momentum v + s*; alpha <- alpha + step v.
      weight_grid: record the individual of each population that every pair of weights
        of the report's Table 1 would have chosen (`strategies.egnas_grid`); changes
        nothing else.
      population_chunk, image_chunk: individuals and images at a time while a population
        is evaluated; None: as `search.evaluate.default_chunks` has it. With the
        statistics of the batch its images cannot be split.

    Raises:
      ValueError: an unknown choice or a number out of its range.
    """

    warmup: int = 15
    fitness_batch_size: int = 128
    fitness_batches: int = 1
    batch_stats: str = "batch"
    centre: str = "alpha"
    centre_noise: str = "per_sample"
    noise: float = 0.01
    candidates: str = "fresh"
    sigma: str = "by_update"
    sigma_start: float = 1.0
    sigma_floor: float = 0.02
    evolution: str = "cma_es"
    population: int = 50
    generations: int = 3
    samples: int = 3
    individual_mixing: str = "softmax"
    similarity: str = "raw"
    zeta: float = 1.0
    eta: float = 0.4
    sign: str = "paper"
    tie: str = "first"
    best_sample: str = "fitness"
    direction: str = "softmax_centred"
    momentum: float = 0.0
    step: float = 0.1
    weight_grid: bool = False
    population_chunk: int | None = None
    image_chunk: int | None = None

    choices: ClassVar = CHOICES

    def __post_init__(self):
        super().__post_init__()
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(
                    f"strategy.{name} is {value}, but must be from {least} to {most}."
                )
        check_options(self.batch_stats, self.population_chunk, self.image_chunk)

    @classmethod
    def variant(cls, name: str) -> "EGNASConfig":
        """The options of "paper", "official" or "reproduction".

        Raises:
          ValueError: another name.
        """
        return cls(**lookup(VARIANTS, name, "variant"))

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one exploration."""
        return self.fitness_batch_size * self.fitness_batches

    @property
    def individuals(self) -> int:
        """Mixings that are evaluated together: a population, and alpha beside it."""
        return self.population + 1


# Numbers that no shape and no choice depends on: one program serves all their values.
SWEPT = ("noise", "sigma_start", "sigma_floor", "zeta", "eta", "momentum", "step")


def with_traced(config: EGNASConfig, numbers: dict[str, Array]) -> EGNASConfig:
    """A configuration whose numbers are arrays, for use inside a program.

    Args:
      config: what else holds.
      numbers: names of `SWEPT` -> f32[]. They cannot be looked at here: whoever makes
        them checks their values by an `EGNASConfig` of their own.
    """
    traced = copy.copy(config)
    for name, value in numbers.items():
        object.__setattr__(traced, name, value)  # past the checks of `__post_init__`
    return traced


_OFFICIAL = dict(
    order="strategy_first",
    learning_rate_epoch="next",
    last_batch="keep",
    split="file_order",
    augment_valid=True,
    alpha_in_clip=True,
    batch_stats="running",
    centre="softmax",
    centre_noise="shared",
    candidates="constant",
    sigma="constant",
    generations=1,
    individual_mixing="normalised_softmax",
    similarity="normalised",
    tie="last",
    best_sample="accuracy",
    direction="double_softmax",
)
VARIANTS = {
    "paper": {},
    "official": _OFFICIAL,
    "reproduction": {**_OFFICIAL, "candidates": "run", "step": 0.6},
}
DEFAULT_SEEDS = {"paper": 0, "official": 2, "reproduction": 2}
