"""The settings that all black-box searches share."""

import dataclasses
from typing import ClassVar

from egnas_jax.idle import check_idle
from egnas_jax.search.evaluate import STATISTICS, check_options
from egnas_jax.settings import check_choices, check_ranges
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.proxy_fitness import IDLE, check_fitness, proxy_of

MODES = ("two_phase", "interleaved")
FITNESSES = ("accuracy", "loss")


@dataclasses.dataclass(frozen=True)
class BlackBoxConfig:
    """The settings that all black-box searches share.

    Attributes:
      mode: "two_phase" or "interleaved", see `discrete.search`.
      generations: of one search: the only one of `two_phase`, or each epoch's. The
        defaults of all methods evaluate about 5,600 cells in one search, on as many
        images as 50 epochs of EG-NAS's `paper`.
      fitness: minimised: "accuracy", as 1 - accuracy, "loss", or "proxy:NAME", the
        negative score of an untrained network by a zero-cost proxy; then no epoch has
        weight steps.
      fitness_batch_size: images on which the cells of one search are evaluated.
      finalists: F, best cells of a search that are evaluated again.
      final_batches: batches of `fitness_batch_size` images on which that is done, in
        one order of all validation images. The default takes all 25,000 of the CIFAR
        data sets. 0: the best cell is answered as it is.
      batch_stats: batch norm in these evaluations: "batch" or "running".
      population_chunk, image_chunk: cells and images evaluated at a time; None: as
        `search.evaluate.default_chunks` chooses, or `default_population_chunk` for
        a proxy.
      limit: that the cells keep; those over it rank last.

    Raises:
      ValueError: a number out of its range, an unknown choice, or a proxy that so few
        images do not serve, or with which an option has no effect.
    """

    mode: str = "two_phase"
    generations: int = 100
    fitness: str = "accuracy"
    fitness_batch_size: int = 512
    finalists: int = 10
    final_batches: int = 49
    batch_stats: str = "batch"
    population_chunk: int | None = None
    image_chunk: int | None = None
    limit: Limit = Limit()

    warmup: ClassVar[int] = 0  # `mode` alone says when a search follows
    idle: ClassVar = IDLE

    def __post_init__(self):
        count = (1, 10**6)
        ranges = {"generations": count, "fitness_batch_size": count}
        ranges |= {"finalists": (1, 1000), "final_batches": (0, 10**6)}
        check_ranges(self, ranges, "strategy.")
        choices = {"mode": MODES, "batch_stats": STATISTICS}
        check_choices(self, choices, "strategy.")
        check_fitness(self.fitness, FITNESSES, self.valid_batch_size)
        check_idle(self, "strategy.")
        chunks = self.population_chunk, self.image_chunk
        check_options(self.batch_stats, *chunks, "strategy.")

    def check_finalists(self, evaluated: int) -> None:
        """Refuses more finalists than a search evaluates cells.

        Raises:
          ValueError: there are more.
        """
        if self.finalists > evaluated:
            raise ValueError(
                f"strategy.finalists is {self.finalists}, but a search evaluates "
                f"{evaluated} cells: lower it, or raise strategy.generations."
            )

    @property
    def searches_last(self) -> bool:
        """Whether the only search follows the last weight step."""
        return self.mode == "two_phase"

    @property
    def fitness_name(self) -> str:
        """Name of the minimised metric, in plots and in front.json."""
        if proxy_of(self.fitness) is not None:
            return f"minus_{proxy_of(self.fitness)}"
        return "loss" if self.fitness == "loss" else "error"

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one search."""
        return self.fitness_batch_size
