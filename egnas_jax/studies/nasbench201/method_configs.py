"""Configures the methods of a table search that have no supernet's options."""

import dataclasses

from egnas_jax.controller.ppo import LEVELS
from egnas_jax.evolution.nsga2 import CROWDINGS, PARENTS
from egnas_jax.settings import LARGEST_FLOAT, check_choices, check_ranges
from egnas_jax.space.nasbench201 import PLACES

MOVES = ("best", "first")
COSTS = ("params", "multiply_adds")
COUNT, RATE, SHARE = (1, 10**5), (0.0, LARGEST_FLOAT), (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class RandomConfig:
    """Options of random search: none."""


@dataclasses.dataclass(frozen=True)
class LocalSearchConfig:
    """Options of local search.

    Attributes:
      move: "best": all neighbours are evaluated, and the search moves to the best;
        "first": it moves as soon as one is better.

    Raises:
      ValueError: another move.
    """

    move: str = "best"

    def __post_init__(self):
        check_choices(self, {"move": MOVES}, "local_search.")


@dataclasses.dataclass(frozen=True)
class AgeingConfig:
    """Options of ageing evolution.

    Attributes:
      population: cells in the queue.
      tournament: cells drawn from the queue; the best of them becomes the parent.
      place: where a mutation changes the parent: at a "uniform" edge, or
        "node_first": at an edge of a uniform node, as the benchmark's own code does,
        so that edge 0 changes with probability 1/3 and those of the last node with 1/9.

    Raises:
      ValueError: a number is out of its range, a tournament larger than the
        population, or another place.
    """

    population: int = 10
    tournament: int = 3
    place: str = "uniform"

    def __post_init__(self):
        ranges = {"population": (2, 10**5), "tournament": COUNT}
        check_ranges(self, ranges, "ageing_evolution.")
        check_choices(self, {"place": PLACES}, "ageing_evolution.")
        if self.tournament > self.population:
            raise ValueError(
                f"ageing_evolution.tournament is {self.tournament}, but the population "
                f"has {self.population} cells: lower it, or raise the population."
            )


@dataclasses.dataclass(frozen=True)
class ReinforceConfig:
    """Options of REINFORCE with a softmax for every edge.

    Attributes:
      learning_rate: of Adam.
      baseline: share of the moving average of rewards that stays with each reward.

    Raises:
      ValueError: a number is out of its range.
    """

    learning_rate: float = 0.01
    baseline: float = 0.9

    def __post_init__(self):
        ranges = {"learning_rate": RATE, "baseline": (0.0, 0.999999)}
        check_ranges(self, ranges, "reinforce.")


@dataclasses.dataclass(frozen=True)
class ENASConfig:
    """Options of the LSTM controller trained by REINFORCE.

    Attributes:
      learning_rate: of Adam (betas 0 and 0.999, eps 1e-3 as in TensorFlow).
      baseline: share of the moving average of rewards that stays with each reward.
      entropy_weight: weight of a sequence's entropy in its reward, a fraction.
      samples: cells of one step of Adam.
      hidden: units of the LSTM.

    Raises:
      ValueError: a number is out of its range.
    """

    learning_rate: float = 0.0035
    baseline: float = 0.99
    entropy_weight: float = 1e-4
    samples: int = 10
    hidden: int = 64

    def __post_init__(self):
        ranges = {
            "learning_rate": RATE,
            "baseline": SHARE,
            "entropy_weight": RATE,
            "samples": COUNT,
            "hidden": (1, 4096),
        }
        check_ranges(self, ranges, "enas.")


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Options of the LSTM controller trained by PPO, in the style of NASNet-A.

    Attributes:
      learning_rate: of Adam.
      baseline: share of the moving average of rewards that stays with each batch.
      entropy_weight: weight of a decision's mean entropy in the objective.
      clip: ratios count within 1 +- clip.
      epochs: steps of Adam on one batch.
      level: whether there is a ratio for each "decision" or for each "sequence".
      samples: cells of one batch.
      hidden: units of the LSTM.

    Raises:
      ValueError: a number is out of its range, or another level.
    """

    learning_rate: float = 3.5e-4
    baseline: float = 0.95
    entropy_weight: float = 1e-5
    clip: float = 0.2
    epochs: int = 4
    level: str = "decision"
    samples: int = 20
    hidden: int = 100

    def __post_init__(self):
        ranges = {
            "learning_rate": RATE,
            "baseline": SHARE,
            "entropy_weight": RATE,
            "clip": (1e-9, LARGEST_FLOAT),
            "epochs": (1, 1000),
            "samples": COUNT,
            "hidden": (1, 4096),
        }
        check_ranges(self, ranges, "nasnet_ppo.")
        check_choices(self, {"level": LEVELS}, "nasnet_ppo.")


@dataclasses.dataclass(frozen=True)
class NSGA2Config:
    """Options of NSGA-II, whose objectives are the error and a cost.

    Attributes:
      population: cells that survive.
      offspring: cells bred in a generation.
      cost: "params" or "multiply_adds", the second objective.
      crowding: what counts as the distance between neighbours of equal objectives:
        "deb", zero; "nsga_net", the distance to the next different one.
      parents: what decides a tournament before that distance: the "rank", or
        "domination" of one parent by the other.

    Raises:
      ValueError: a number is out of its range, or another cost.
    """

    population: int = 20
    offspring: int = 20
    cost: str = "params"
    crowding: str = "deb"
    parents: str = "rank"

    def __post_init__(self):
        ranges = {"population": (2, 10**4), "offspring": (1, 10**4)}
        check_ranges(self, ranges, "nsga2.")
        choices = {"cost": COSTS, "crowding": CROWDINGS, "parents": PARENTS}
        check_choices(self, choices, "nsga2.")


@dataclasses.dataclass(frozen=True)
class SwarmConfig:
    """Options of the two-level swarm, in the style of EPCNAS.

    Attributes:
      particles: cells of one iteration.
      inertia, own, swarm: share of the old velocity that stays, and the pulls of a
        particle's own best position and of the swarm's.
      clamp: largest absolute velocity; 0, as published, for none.
      start_edges: share of the edges that are there at the start.

    Raises:
      ValueError: a number is out of its range.
    """

    particles: int = 20
    inertia: float = 0.7298
    own: float = 1.49618
    swarm: float = 1.49618
    clamp: float = 0.0
    start_edges: float = 1.0

    def __post_init__(self):
        ranges = {
            "particles": (2, 10**4),
            "inertia": RATE,
            "own": RATE,
            "swarm": RATE,
            "clamp": RATE,
            "start_edges": SHARE,
        }
        check_ranges(self, ranges, "epcnas_pso.")
