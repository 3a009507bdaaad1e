"""Implements NSGA-II under shared weights: error against the size of the network.

Source: NSGA-Net (Lu et al., GECCO 2019): genes, operators and selection. NSGANetV1 adds
a Bayesian network over good cells, whose weights and schedule are not public; it is
left out. Ties are broken by the lower index, not by chance.

Dims: P population, n offspring.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.evolution.breeding import offspring, random_population
from egnas_jax.evolution.nsga2 import (
    CROWDINGS,
    PARENTS,
    front_numbers,
    hypervolume,
    knee,
    survivors,
)
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.strategy import Front, Strategy
from egnas_jax.settings import check_choices, check_ranges
from egnas_jax.space import SPACES
from egnas_jax.strategies.discrete.cells import cells_of
from egnas_jax.strategies.discrete.config import BlackBoxConfig
from egnas_jax.strategies.discrete.cost import COSTS, make_cost
from egnas_jax.strategies.discrete.generations import WORST, BlackBoxState, Proposer
from egnas_jax.strategies.discrete.search import black_box
from egnas_jax.strategies.limits.costs import OVER, WORST_WITHIN
from egnas_jax.strategies.proxy_fitness import proxy_of
from egnas_jax.types import Array, Key

POINTS = ("knee", "best")
REFERENCE = 1.1  # of the hypervolume, in objectives scaled to the largest cost


@dataclasses.dataclass(frozen=True)
class NSGA2Config(BlackBoxConfig):
    """The settings of NSGA-II.

    Attributes:
      population: P, cells that survive.
      offspring: n, cells bred in a generation.
      cost: the second objective: "params" or "multiply_adds" of the network that
        `retrain` would train by default, in millions.
      point: the cell that the search answers: the "knee" of the front, or the "best" by
        the fitness alone. The finalists under "knee" are the first F survivors; what is
        left of the front afterwards are those that no other finalist dominates on the
        final batches.
      crowding: what counts as the distance between neighbours of equal objectives:
        "deb", zero, as in Deb et al.; "nsga_net", the distance to the next different
        one, as in the code of NSGA-Net.
      parents: what decides a tournament of two parents before the crowding distance:
        the "rank", as in Deb et al.; "domination" of one by the other, as in the code
        of NSGA-Net, where two solutions of unlike rank may be equal.

    Raises:
      ValueError: a number out of its range, or an unknown choice.
    """

    population: int = 40
    offspring: int = 40
    cost: str = "params"
    point: str = "knee"
    crowding: str = "deb"
    parents: str = "rank"
    generations: int = 139

    def __post_init__(self):
        super().__post_init__()
        ranges = {"population": (2, 10**4), "offspring": (1, 10**4)}
        check_ranges(self, ranges, "strategy.")
        choices = {"cost": COSTS, "point": POINTS, "crowding": CROWDINGS}
        choices |= {"parents": PARENTS}
        check_choices(self, choices, "strategy.")
        self.check_finalists(self.population + self.generations * self.offspring)
        if self.point == "knee" and self.finalists > self.population:
            raise ValueError(
                f"strategy.finalists is {self.finalists}, but the population has "
                f"{self.population} cells: lower it, or raise strategy.population."
            )

    @property
    def individuals(self) -> int:
        """Cells that are evaluated together, at most."""
        return max(self.offspring, self.finalists)


@flax.struct.dataclass
class NSGA2State:
    """The population.

    Attributes:
      population: integers i32[P, D].
      objectives: fitness and cost, f32[P, 2].
    """

    population: Array
    objectives: Array


def nsga2(net: Supernet, config: NSGA2Config) -> Strategy:
    """Makes NSGA-II a strategy of the search loop."""
    space = SPACES[net.config.space]
    cells = cells_of(space)
    cost, largest = make_cost(space, net.config.num_classes, config.cost)
    to_cells = jax.vmap(cells.from_integers)
    names = config.fitness_name, config.cost
    limited = config.limit.is_set
    dialect = {"skip_equal_neighbours": config.crowding == "nsga_net"}
    # fitness from which on a cell is not on the front: none is known, or it is over a
    # limit
    excluded_from = WORST_WITHIN if limited else WORST

    def init(key: Key) -> NSGA2State:
        population = random_population(key, cells.integers, config.population)
        return NSGA2State(
            population, _objectives(population, jnp.full((config.population,), WORST))
        )

    def _objectives(population: Array, fitness: Array) -> Array:
        costs = jax.vmap(cost)(to_cells(population))
        if limited:
            # A cell over a limit is dominated by all that keep it, and by those that
            # are less over it (constrained domination, Deb et al., 2002).
            costs = jnp.where(fitness >= OVER, fitness, costs)
        return jnp.stack([fitness, costs], axis=-1)

    def members(state: NSGA2State) -> Array:
        return to_cells(state.population)

    def revalue(state: NSGA2State, fitness: Array) -> NSGA2State:
        objectives = state.objectives.at[:, 0].set(fitness)
        if limited:
            objectives = _objectives(state.population, fitness)
        return state.replace(objectives=objectives)

    def ask(key: Key, state: NSGA2State) -> tuple[NSGA2State, Array]:
        children = offspring(
            key,
            cells.integers,
            state.population,
            comparable(state.objectives, excluded_from),
            config.offspring,
            **dialect,
            parents_by=config.parents,
        )
        return state, to_cells(children)

    def best_of(objectives: Array, number: int) -> Array:
        return survivors(comparable(objectives, excluded_from), number, **dialect)

    def tell(state: NSGA2State, children: Array, fitness: Array) -> NSGA2State:
        vectors = jax.vmap(cells.to_integers)(children)
        everyone = jnp.concatenate([state.population, vectors])
        objectives = jnp.concatenate([state.objectives, _objectives(vectors, fitness)])
        chosen = best_of(objectives, config.population)
        return NSGA2State(everyone[chosen], objectives[chosen])

    def metrics(state: NSGA2State) -> dict[str, Array]:
        known = front_metrics(state.objectives, largest, excluded_from)
        if proxy_of(config.fitness) is not None:
            del known["front_hypervolume"]  # of a score there is no worst value
        return known

    def answer(state: NSGA2State) -> tuple[Array, Array]:
        index = knee(state.objectives, front_of(state.objectives, excluded_from))
        cell = cells.from_integers(state.population[index])
        return cell, state.objectives[index, 0]

    def finalists(state: NSGA2State, number: int) -> Array:
        return best_of(state.objectives, number)

    has_knee = config.point == "knee"
    proposer = Proposer(
        init=init,
        members=members,
        revalue=revalue,
        ask=ask,
        tell=tell,
        metrics=metrics,
        answer=answer if has_knee else None,
        finalists=finalists if has_knee else None,
    )

    def front(state: BlackBoxState) -> Front:
        objectives, population = state.proposer.objectives, members(state.proposer)
        is_member = front_of(objectives, excluded_from)
        costs = jax.vmap(cost)(population) if limited else objectives[:, 1]
        is_included = objectives[:, 0] < excluded_from
        fitness = jnp.where(is_included, objectives[:, 0], jnp.inf)
        return Front(
            mixings=jax.vmap(cells.to_mixing)(population),
            objectives=dict(zip(names, (fitness, costs), strict=True)),
            is_member=is_member & is_included,
            knee=knee(objectives, is_member),
        )

    strategy = black_box(net, config, cells, proposer)
    return strategy._replace(front=front)


def comparable(objectives: Array, excluded_from: float = WORST) -> Array:
    """Objectives by which cells are selected, f32[P, 2].

    A cell that is excluded from the front is dominated by all that are not, however
    small it is.

    Args:
      objectives, excluded_from: see `front_of`.
    """
    fitness = objectives[:, :1]
    return jnp.where(fitness >= excluded_from, fitness, objectives)


def front_of(objectives: Array, excluded_from: float = WORST) -> Array:
    """Which of a population are on its Pareto front, bool[P].

    Excluded cells are left out, unless there are no others.

    Args:
      objectives: fitness and cost, f32[P, 2].
      excluded_from: the fitness from which on a cell is excluded: none is known, or
        the cell is over a limit.
    """
    front = front_numbers(objectives) == 0
    included = front & (objectives[:, 0] < excluded_from)
    return jnp.where(jnp.any(included), included, front)


def front_metrics(
    objectives: Array, largest_cost: float, excluded_from: float = WORST
) -> dict[str, Array]:
    """Size, ends and hypervolume of the Pareto front of a population.

    Args:
      objectives: fitness and cost, f32[P, 2].
      largest_cost: of any cell; the volume is of costs over it, up to 1.1 in both.
      excluded_from: see `front_of`.
    """
    front = front_of(objectives, excluded_from)
    scaled = objectives / jnp.asarray([[1.0, largest_cost]])
    costs = jnp.where(front, objectives[:, 1], jnp.nan)
    return {
        "front_size": jnp.sum(front).astype(jnp.float32),
        "front_hypervolume": hypervolume(scaled, jnp.full((2,), REFERENCE)),
        "front_cost_min": jnp.nanmin(costs),
        "front_cost_max": jnp.nanmax(costs),
    }
