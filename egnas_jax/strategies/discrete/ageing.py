"""Implements AmoebaNet's ageing evolution under shared weights.

Source: Real et al., AAAI 2019, which trains every child from scratch with 450 workers
at once; several children of one generation are in its spirit.

Dims: P population, S tournament, n children of one generation.
"""

import dataclasses

import jax
import jax.numpy as jnp

from egnas_jax.evolution.ageing import AgeingState, ageing_evolution_of
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.strategy import Strategy
from egnas_jax.settings import check_choices, check_ranges
from egnas_jax.space import SPACES
from egnas_jax.space.nasbench201 import PLACES
from egnas_jax.strategies.discrete.cells import cells_of
from egnas_jax.strategies.discrete.config import BlackBoxConfig
from egnas_jax.strategies.discrete.generations import Proposer
from egnas_jax.strategies.discrete.search import black_box
from egnas_jax.strategies.limits.costs import mean_within
from egnas_jax.types import Array, Key


@dataclasses.dataclass(frozen=True)
class AgeingEvolutionConfig(BlackBoxConfig):
    """The settings of ageing evolution.

    Attributes:
      population: P, cells in the queue.
      tournament: S, cells drawn from it; the best of them becomes a parent.
      children: n, cells of one generation.
      place: where a mutation changes a cell of NAS-Bench-201, one of
        `space.nasbench201.PLACES`.

    Raises:
      ValueError: a number out of its range, or more children or a larger tournament
        than the population has cells.
    """

    population: int = 100
    tournament: int = 25
    children: int = 16
    generations: int = 345
    place: str = "uniform"

    def __post_init__(self):
        super().__post_init__()
        ranges = {"population": (2, 10**5), "tournament": (1, 10**5)}
        check_ranges(self, ranges | {"children": (1, 10**5)}, "strategy.")
        check_choices(self, {"place": PLACES}, "strategy.")
        for name in ("tournament", "children"):
            if getattr(self, name) > self.population:
                raise ValueError(
                    f"strategy.{name} is {getattr(self, name)}, but the population has "
                    f"{self.population} cells: lower it, or raise strategy.population."
                )
        self.check_finalists(self.population + self.generations * self.children)

    @property
    def individuals(self) -> int:
        """Cells that are evaluated together, at most."""
        return max(self.children, self.finalists)


def ageing_evolution(net: Supernet, config: AgeingEvolutionConfig) -> Strategy:
    """Makes ageing evolution a strategy of the search loop."""
    cells = cells_of(SPACES[net.config.space], config.place)
    ageing = ageing_evolution_of(cells.genes, config.population, config.tournament)

    def init(key: Key) -> AgeingState:
        keys = jax.random.split(key, config.population)
        unknown = jnp.full((config.population,), jnp.inf)
        start = ageing.init()
        return ageing.tell_many(start, jax.vmap(cells.genes.random)(keys), unknown)

    def ask(key: Key, state: AgeingState) -> tuple[AgeingState, Array]:
        keys = jax.random.split(key, config.children)
        return state, jax.vmap(lambda k: ageing.ask(k, state))(keys)

    def metrics(state: AgeingState) -> dict[str, Array]:
        return {"queue_fitness": mean_within(state.fitness, config.limit)}

    proposer = Proposer(
        init=init,
        members=lambda state: state.solutions,
        revalue=_revalue,
        ask=ask,
        tell=ageing.tell_many,
        metrics=metrics,
    )
    return black_box(net, config, cells, proposer)


def _revalue(state: AgeingState, fitness: Array) -> AgeingState:
    return state.replace(fitness=fitness)
