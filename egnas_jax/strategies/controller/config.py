"""The settings of ENAS and of PPO in the style of NASNet-A.

Dims: S cells of one step of the controller, F finalists.
"""

import dataclasses
from typing import ClassVar

from egnas_jax.controller.ppo import LEVELS
from egnas_jax.idle import check_idle
from egnas_jax.search.evaluate import STATISTICS, check_options
from egnas_jax.settings import (
    LARGEST_FLOAT,
    check_choices,
    check_field_types,
    check_ranges,
)
from egnas_jax.strategies.discrete.config import FITNESSES
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.proxy_fitness import IDLE, check_fitness

BATCHES = ("own", "shared")
RATE, SHARE = (0.0, LARGEST_FLOAT), (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class ControllerConfig:
    """The settings that both controllers share.

    Attributes:
      learning_rate: of Adam on the controller.
      baseline: share of the moving average of rewards that stays.
      entropy_weight: weight of the entropy: of a sequence's in its reward (ENAS), or of
        a decision's in the objective (PPO).
      samples: S, cells of one step.
      steps: of the controller after each epoch.
      finalists: F, fresh cells of which the best becomes the incumbent.
      hidden: units of the LSTM.
      conv_bias: where the bias of separable convolutions starts, see `LSTMConfig`.
      fixed_bias: see `LSTMConfig`.
      batches: "own": each cell is evaluated on a batch of its own, as published;
        "shared": those of one step on one batch, by one call.
      fitness: what a cell is rewarded for: "accuracy", as published; "loss", as
        1 - loss; or "proxy:NAME", the score of an untrained network by a zero-cost
        proxy, as the share of the cells of its step with a lower score. Then no epoch
        has weight steps.
      batch_size: images of one such batch.
      batch_stats: batch norm in these evaluations: "batch" or "running".
      population_chunk, image_chunk: cells and images evaluated at a time; None: as
        `search.evaluate.default_chunks` chooses, or `default_population_chunk` for
        a proxy.
      limit: that the cells keep; those over it have the least rewards, see
        `RewardEvaluator`.

    Raises:
      ValueError: a number out of its range, an unknown choice, or a proxy that so few
        images do not serve, or with which an option has no effect.
    """

    learning_rate: float = 0.0035
    baseline: float = 0.99
    entropy_weight: float = 1e-4
    samples: int = 10
    steps: int = 30
    finalists: int = 10
    hidden: int = 64
    conv_bias: float = 10.0
    fixed_bias: bool = True
    batches: str = "own"
    fitness: str = "accuracy"
    batch_size: int = 160
    batch_stats: str = "batch"
    population_chunk: int | None = None
    image_chunk: int | None = None
    limit: Limit = Limit()

    warmup: ClassVar[int] = 0  # the controller learns from the first epoch on
    idle: ClassVar = IDLE

    def __post_init__(self):
        count = (1, 10**5)
        ranges = dict(
            learning_rate=RATE,
            baseline=SHARE,
            entropy_weight=RATE,
            samples=count,
            steps=count,
            finalists=count,
            hidden=(1, 4096),
            conv_bias=(-LARGEST_FLOAT, LARGEST_FLOAT),
            batch_size=(1, 10**6),
        )
        check_ranges(self, ranges, "strategy.")
        check_field_types(self, "strategy.")
        choices = {"batches": BATCHES, "batch_stats": STATISTICS}
        check_choices(self, choices, "strategy.")
        check_fitness(self.fitness, FITNESSES, self.batch_size, "batch_size")
        check_idle(self, "strategy.")
        chunks = self.population_chunk, self.image_chunk
        check_options(self.batch_stats, *chunks, "strategy.")

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one batch."""
        return self.batch_size

    @property
    def individuals(self) -> int:
        """Cells that are evaluated together, at most."""
        return max(self.finalists + 1, self.samples)


@dataclasses.dataclass(frozen=True)
class ENASConfig(ControllerConfig):
    """The settings of ENAS: those of `ControllerConfig`, with its published values."""


@dataclasses.dataclass(frozen=True)
class PPOConfig(ControllerConfig):
    """The settings of PPO.

    Attributes:
      clip: ratios count within 1 +- clip.
      epochs: steps of Adam on the cells of one step.
      level: whether there is a ratio for each "decision" or for each "sequence".

    Raises:
      ValueError: a number out of its range, or an unknown choice.
    """

    learning_rate: float = 3.5e-4
    baseline: float = 0.95
    entropy_weight: float = 1e-5
    samples: int = 20
    steps: int = 15
    hidden: int = 100
    clip: float = 0.2
    epochs: int = 4
    level: str = "decision"

    def __post_init__(self):
        super().__post_init__()
        check_ranges(self, {"clip": (1e-9, RATE[1]), "epochs": (1, 1000)}, "strategy.")
        check_choices(self, {"level": LEVELS}, "strategy.")
