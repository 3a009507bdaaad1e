"""Names the options of EG-NAS, and four sets of them.

Paper, report and official code differ; every difference is an option here. `paper` is
what the paper describes, `official` what the published code does, its defects included,
`reproduction` what the code of the reproduction study does, and `revised` what did best
on the data of its development.

Sources: Cai et al., "EG-NAS: Neural Architecture Search with Fast Evolutionary
Exploration", AAAI 2024, and its official code; the report 快速进化神经网络架构搜索, a
reproduction study of EG-NAS. docs/egnas.md compares them.

Dims: E edges, K primitives.
"""

import dataclasses
from typing import ClassVar

import flax.struct
import jax

from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.idle import Idle, check_idle
from egnas_jax.lookup import check_known, lookup
from egnas_jax.search.evaluate import STATISTICS, check_options
from egnas_jax.search.racing import Race, Round, num_batches, num_evaluations
from egnas_jax.settings import check_choices, check_field_types, check_ranges
from egnas_jax.strategies.egnas.fitness import SIGNS, SIMILARITIES
from egnas_jax.strategies.egnas.variants import VARIANTS
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.proxy_fitness import (
    BY_PROXY,
    IDLE,
    check_fitness,
    images_of_cell,
    proxy_of,
)
from egnas_jax.types import Array

COMPOUND = "compound"  # of fitness: formula (3) on trained weights
AUTO = "auto"  # of fitness_batches: individuals race for batches
CHOICES = {
    "batch_stats": STATISTICS,
    "centre": ("alpha", "softmax", "one_hot"),
    "centre_noise": ("per_sample", "shared"),
    "candidates": ("fresh", "constant", "run"),
    "repeats": ("kept", "redrawn"),
    "sigma": ("by_update", "by_epoch", "constant", "own"),
    "carried": ("nothing", "shape", "all"),
    "individual_mixing": ("softmax", "normalised_softmax"),
    "similarity": SIMILARITIES,
    "sign": SIGNS,
    "eta_schedule": ("constant", "by_update"),
    "tie": ("first", "last"),
    "best_sample": ("fitness", "accuracy"),
    "direction": ("softmax_centred", "double_softmax", "z", "z_minus_alpha"),
    "accept": ("any", "better", "as_good"),
}
RANGES = {  # the largest values only catch typing errors
    "warmup": (0, 10**9),
    "fitness_batch_size": (1, 10**9),
    "fitness_batches": (1, 10**4),
    "population": (2, 10**5),
    "generations": (1, 10**4),
    "samples": (1, 10**4),
    "noise": (0.0, 1e9),
    "sigma_start": (1e-6, 1e9),
    "sigma_floor": (0.0, 1e9),
    "zeta": (0.0, 1e9),
    "eta": (0.0, 1e9),
    "momentum": (0.0, 1e9),
    "step": (0.0, 1e9),
}


@flax.struct.dataclass
class EGNASHyperparams:
    """The numbers of EG-NAS that affect no shape; `EGNASConfig` says what they are."""

    noise: Array | float
    sigma_start: Array | float
    sigma_floor: Array | float
    zeta: Array | float
    eta: Array | float
    momentum: Array | float
    step: Array | float


HYPERPARAMS = tuple(field.name for field in dataclasses.fields(EGNASHyperparams))


def _of_variants(name: str) -> tuple:
    """Returns the values that the variants give an option.

    They are allowed where the option has no effect, because somebody may change another
    option of a variant and leave this one as it is.
    """
    return tuple(options[name] for options in VARIANTS.values() if name in options)


@dataclasses.dataclass(frozen=True)
class EGNASConfig:
    """Everything in which readings of EG-NAS differ; the defaults are `paper`.

    z is an individual, [E, K] for each kind; q are the rows of the mixing under which
    it is evaluated (`individual_mixing`); L1 and L2 are the loss and the similarity of
    formula (3); s* is the direction in which alpha steps.

    Attributes:
      fitness: "compound", formula (3) under the supernet's weights; or "proxy:NAME":
        L1 is the negative score of the derived cell by a zero-cost proxy, and formula
        (3) compares scores instead of accuracies. No epoch then has weight steps, and
        there is no warm-up.
      warmup: epochs before the first update of alpha.
      fitness_batch_size, fitness_batches: images of a fitness batch, and batches; with
        batch statistics each batch has its own. "auto": the individuals of a population
        race for batches, and the better ones get more.
      batch_stats: batch norm while the fitness is evaluated: "batch" or "running".
      centre: populations are drawn around "alpha", its row-wise "softmax", or the
        "one_hot" rows of its largest entries, plus `noise` times a normal draw,
        "per_sample" or "shared" (`centre_noise`).
      candidates: keys of the individuals: "fresh" for every epoch, sample and
        generation; "constant", the same directions always; "run", the same within a
        run (its seed).
      repeats: individuals whose derived cell is that of alpha, or of another of their
        population, are "kept", or "redrawn" (as far as four populations have others).
      sigma: max(sigma_start / (s + 1), sigma_floor), where s counts the updates so far
        ("by_update"), or the epochs so far, those of the warm-up included ("by_epoch");
        "constant": sigma_start; "own": sigma_start at first, then the one to which the
        evolution strategy adapted itself.
      carried: what of the evolution strategy's state goes on into the next exploration:
        "nothing"; its "shape", which is all but mean and sigma (the covariance and the
        paths of CMA-ES), around the new centre; or "all" but sigma, so that `centre`
        and its noise decide where the first exploration begins, and no later one.
      evolution: the evolution strategy, a name of `evolution.EVOLUTIONS`; a script or
        a plug-in may add others there.
      population, generations, samples: P, T and N of Algorithm 1.
      individual_mixing: the mixing of an individual: the "softmax" of its rows, or of
        its rows divided by their norms ("normalised_softmax").
      similarity: L2 between alpha and z "raw"; between softmax(alpha) and z with
        "normalised" rows; with row means removed ("centred"); or of the whole vectors
        ("flattened").
      zeta, eta, sign: of the compound fitness, see `fitness.compound_fitness`.
      eta_schedule: "constant", or "by_update": eta / (s + 1) after s updates.
      tie: of equal individuals the "first" or the "last" wins.
      best_sample: along which sample's best individual alpha steps: that of least
        "fitness", or that of largest "accuracy" of softmax(q) (an accuracy of zero
        beats all: a defect of the official code).
      direction: s*, "softmax_centred" = softmax(z) - 1 / K; "double_softmax" =
        softmax(q); "z"; "z_minus_alpha".
      accept: alpha steps along "any" winner; along one that has as many correct answers
        as alpha on the same images, or more ("as_good"); or only along one that has
        more ("better").
      momentum, step: v <- momentum v + s*; alpha <- alpha + step v.
      weight_grid: record the individual of each population that every pair of weights
        of the report's Table 1 would have chosen (`weight_grid.py`); changes nothing
        else.
      population_chunk, image_chunk: individuals and images that are evaluated at a
        time. With None `search.evaluate.default_chunks` chooses, or for a proxy
        `default_population_chunk`. With the statistics of the batch its images cannot
        be split, so that there is no `image_chunk`.
      limit: that the derived cell keeps; individuals whose derived cell is over it rank
        last.
      race: how they race, where `fitness_batches` is "auto".

    Raises:
      ValueError: an unknown choice, a value of the wrong type or out of its range, or
        options that do not go together.
    """

    fitness: str = COMPOUND
    warmup: int = 15
    fitness_batch_size: int = 128
    fitness_batches: int | str = 1
    batch_stats: str = "batch"
    centre: str = "alpha"
    centre_noise: str = "per_sample"
    noise: float = 0.01
    candidates: str = "fresh"
    repeats: str = "kept"
    sigma: str = "by_update"
    carried: str = "nothing"
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
    eta_schedule: str = "constant"
    sign: str = "paper"
    tie: str = "first"
    best_sample: str = "fitness"
    direction: str = "softmax_centred"
    accept: str = "any"
    momentum: float = 0.0
    step: float = 0.1
    weight_grid: bool = False
    population_chunk: int | None = None
    image_chunk: int | None = None
    limit: Limit = Limit()
    race: Race = Race()

    idle: ClassVar = {
        **IDLE,
        "batch_stats": BY_PROXY._replace(usual=_of_variants("batch_stats")),
        "warmup": BY_PROXY._replace(usual=(1,)),  # of the presets of digits
        # with sign=off, eta=0 says once more that L2 does not count
        "eta": Idle("sign", ("off",), usual=(0.0,)),
        "eta_schedule": Idle("sign", ("off",)),
        "sigma_floor": Idle(
            "sigma",
            ("constant", "own"),
            usual=_of_variants("sigma_floor"),
        ),
    }

    def __post_init__(self):
        check_choices(self, CHOICES, "strategy.")
        check_known(EVOLUTIONS, self.evolution, "strategy.evolution")
        ranges = {k: v for k, v in RANGES.items() if k != "fitness_batches"}
        check_ranges(self, RANGES if not self.races else ranges, "strategy.")
        check_field_types(self, "strategy.")
        check_fitness(self.fitness, (COMPOUND,), self.valid_batch_size)
        check_idle(self, "strategy.")
        self._check_race()
        self._check_carried()
        chunks = self.population_chunk, self.image_chunk
        check_options(self.batch_stats, *chunks, "strategy.")
        if self.weight_grid and self.limit.is_set:
            raise ValueError(
                "strategy.weight_grid records choices without a limit, and "
                "strategy.limit sets one. Leave one of the two out."
            )

    def _check_carried(self):
        """Refuses to carry on what a strategy's state does not have."""
        if not self.carries:
            return
        evolution = EVOLUTIONS[self.evolution](2, 2)
        vector = jax.ShapeDtypeStruct((2,), "float32")
        state = jax.eval_shape(evolution.init, vector, 1.0)
        lacking = [name for name in ("mean", "sigma") if not hasattr(state, name)]
        if lacking:
            raise ValueError(
                f"strategy.carried is {self.carried} and strategy.sigma is "
                f"{self.sigma}, but states of strategy.evolution {self.evolution} have "
                f"no {' and no '.join(lacking)}. Leave both out, or use another one."
            )
        if self.sigma == "own" and not evolution.adapts_sigma:
            raise ValueError(
                f"strategy.sigma is own, but strategy.evolution {self.evolution} never "
                f"changes its step size. Set strategy.sigma to constant, or "
                f"strategy.evolution to another one."
            )

    def _check_race(self):
        if not self.races:
            if self.race != Race():
                raise ValueError(
                    f"strategy.race.* are set, but strategy.fitness_batches is "
                    f"{self.fitness_batches}, so that no individuals race. Set it to "
                    f"{AUTO}, or leave strategy.race.* out."
                )
            return
        if self.proxy is not None:
            raise ValueError(
                f"strategy.fitness_batches is {AUTO}, but strategy.fitness is "
                f"{self.fitness}: individuals race for batches of trained weights. "
                f"Set strategy.fitness_batches to a number."
            )
        if self.weight_grid:
            raise ValueError(
                "strategy.weight_grid compares individuals on the same images, and "
                "individuals that race see different numbers of them. Leave it out, or "
                "set strategy.fitness_batches to a number."
            )

    @classmethod
    def variant(cls, name: str) -> "EGNASConfig":
        """Returns the options of "paper", "official", "reproduction" or "revised".

        What a variant asks of the loop is in `variants.VARIANT_SCHEDULES`.

        Raises:
          ValueError: another name.
        """
        return cls(**lookup(VARIANTS, name, "variant"))

    @property
    def hyperparams(self) -> EGNASHyperparams:
        """The numbers that affect no shape."""
        return EGNASHyperparams(**{name: getattr(self, name) for name in HYPERPARAMS})

    @property
    def races(self) -> bool:
        """Whether individuals race for fitness batches.

        Raises:
          ValueError: `fitness_batches` is neither a number nor "auto".
        """
        if isinstance(self.fitness_batches, str) and self.fitness_batches != AUTO:
            raise ValueError(
                f"strategy.fitness_batches is {self.fitness_batches!r}, but must be a "
                f"whole number or {AUTO}."
            )
        return self.fitness_batches == AUTO

    @property
    def proxy(self) -> str | None:
        """The proxy by which cells are scored, or None."""
        return proxy_of(self.fitness)

    @property
    def first_exploration(self) -> int:
        """The first epoch that explores; untrained weights need no warm-up."""
        return self.warmup if self.proxy is None else 0

    @property
    def carries(self) -> bool:
        """Whether an exploration takes something over from the one before."""
        return self.carried != "nothing" or self.sigma == "own"

    @property
    def race_plan(self) -> tuple[Round, ...]:
        """The rounds of a population; alpha is evaluated on every batch beside it.

        Raises:
          ValueError: a round would have too few individuals or no batch.
        """
        return self.race.plan(self.population, companions=1)

    @property
    def num_batches(self) -> int:
        """Fitness batches of one exploration."""
        return num_batches(self.race_plan) if self.races else self.fitness_batches

    def on_one_batch(self) -> "EGNASConfig":
        """The same options for a fitness on one batch, without a race."""
        return dataclasses.replace(self, fitness_batches=1, race=Race())

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one exploration."""
        return self.fitness_batch_size * self.num_batches

    @property
    def individuals(self) -> int:
        """Mixings that are evaluated together: a population, and alpha beside it."""
        return self.population + 1

    @property
    def mixings_evaluated(self) -> int:
        """Mixings that one exploration evaluates.

        Alpha is evaluated with every population; `best_sample="accuracy"` evaluates
        the best individuals of the samples once more.
        """
        mixings = self.samples * self.generations * self.individuals
        return mixings + self.samples * (self.best_sample == "accuracy")

    @property
    def images_evaluated(self) -> int:
        """Forward passes of one image that one exploration takes.

        Where individuals race these are the most, if no race ends early.
        """
        if not self.races:
            images = images_of_cell(self.fitness, self.valid_batch_size)
            return self.mixings_evaluated * images
        of_race = num_evaluations(self.race_plan, companions=1)
        races = self.samples * self.generations * of_race * self.fitness_batch_size
        return races + self.images_of_samples

    @property
    def images_of_samples(self) -> int:
        """Forward passes by which `best_sample="accuracy"` chooses among the samples.

        `images_evaluated` includes them.
        """
        return self.samples * (self.best_sample == "accuracy") * self.valid_batch_size
