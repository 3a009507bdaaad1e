"""Runs black-box searches under shared weights, whatever proposes the cells.

The weights train under uniform random cells, as in random search. A fitness of one
epoch does not compare with that of another, because the weights have moved. Two modes
follow: `two_phase` searches after the last epoch alone, with frozen weights and on the
same images, so that all fitnesses compare; `interleaved` searches in every epoch, and
evaluates the population anew first.

The cells of one generation are evaluated by one call; so is each part of that size of
the population, of which the last may hold some cells twice. The best of a search owe
their rank to the images as well, so the finalists are evaluated again on the whole
validation half.

Dims: P population, n cells of one generation, F finalists.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.idle import check_idle
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import STATISTICS, check_options
from egnas_jax.search.strategy import DrawFn, Strategy, Trainee
from egnas_jax.settings import check_choices, check_ranges
from egnas_jax.space import SPACES
from egnas_jax.strategies.discrete.cells import Cells
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.limits.costs import (
    WORST_WITHIN,
    limit_metrics,
    limited_fitness,
    make_excess,
    quantiles_within,
    without_over,
)
from egnas_jax.strategies.limits.derivation import with_limit
from egnas_jax.strategies.population_statistics import quantile_names
from egnas_jax.strategies.proxy_fitness import (
    IDLE,
    check_fitness,
    check_proxy_space,
    images_of_cell,
    make_cell_evaluate,
    proxy_of,
)
from egnas_jax.strategies.random_search import random_child
from egnas_jax.types import Array, Batch, Evaluation, Key, Mixing, PyTree

MODES = ("two_phase", "interleaved")
NO_LIMIT = Limit()
FITNESSES = ("accuracy", "loss")
WORST = 1e9  # fitness of a cell whose loss is no number
MOST_POINTS = 50  # of a search's course, so that its record stays short


@dataclasses.dataclass(frozen=True)
class BlackBoxConfig:
    """The settings that all black-box searches share.

    Attributes:
      mode: "two_phase" or "interleaved", see the module.
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


class Proposer(NamedTuple):
    """What proposes cells and learns from their fitness.

    Attributes:
      init: (key) -> a state with a population.
      members: (state) -> the population, cells [P, ...].
      revalue: (state, fitness f32[P]) -> state with that fitness of its members.
      ask: (key, state) -> state, cells [n, ...].
      tell: (state, cells [n, ...], fitness f32[n]) -> state.
      metrics: (state) -> scalars for the record.
      answer: (state) -> the cell that the search answers, and its fitness; None: it
        answers the best.
      finalists: (state, F) -> which members are evaluated again, i32[F], where those
        are not the best; the other members count no more. None: the best.
    """

    init: Callable[[Key], PyTree]
    members: Callable[[PyTree], Array]
    revalue: Callable[[PyTree, Array], PyTree]
    ask: Callable[[Key, PyTree], tuple[PyTree, Array]]
    tell: Callable[[PyTree, Array, Array], PyTree]
    metrics: Callable[[PyTree], dict[str, Array]] = lambda state: {}
    answer: Callable[[PyTree], tuple[Array, Array]] | None = None
    finalists: Callable[[PyTree, int], Array] | None = None


@flax.struct.dataclass
class BlackBoxState:
    """What a black-box search carries.

    Attributes:
      proposer: state of what proposes.
      best: the best cells of the last search, best first, [F, ...].
      best_fitness: f32[F], on the images of the search.
    """

    proposer: PyTree
    best: Array
    best_fitness: Array


def black_box(
    net: Supernet, config: BlackBoxConfig, cells: Cells, proposer: Proposer
) -> Strategy:
    """Makes what proposes cells a strategy of the search loop.

    Args:
      net: the supernet.
      config: the shared settings.
      cells: of the supernet's space.
      proposer: what proposes.
    """
    space = SPACES[net.config.space]
    excess = make_excess(space, net.config.num_classes, config.limit)
    check_proxy_space(config.fitness, net)

    def init(key: Key, hyperparams: tuple) -> BlackBoxState:
        del hyperparams  # there are none
        start = proposer.init(key)
        first = proposer.members(start)[:1]
        best = jnp.repeat(first, config.finalists, axis=0)
        return BlackBoxState(
            start, best, jnp.full((config.finalists,), WORST, jnp.float32)
        )

    def mixing(key: Key, state: BlackBoxState) -> Mixing:
        del state  # the weights train under any cell
        return random_child(key, space)

    def update(
        key: Key,
        state: BlackBoxState,
        hyperparams: tuple,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
        draw_batch: DrawFn,
    ) -> tuple[BlackBoxState, dict[str, Array]]:
        del hyperparams, train_batch
        key_search, key_final = jax.random.split(key)

        def evaluate(population: Array, batch: Batch) -> Array:
            mixings = jax.vmap(cells.to_mixing)(population)
            arguments = net, config, trainee.variables, batch, key
            scores = make_cell_evaluate(*arguments)(mixings)
            return limited_fitness(fitness_of(config, scores), mixings, excess)

        def search(state: BlackBoxState) -> tuple[BlackBoxState, dict[str, Array]]:
            keys, batches = (key_search, key_final), (valid_batch, draw_batch)
            return search_and_reevaluate(
                config, keys, state, proposer, evaluate, batches=batches
            )

        def rest(state: BlackBoxState) -> tuple[BlackBoxState, dict[str, Array]]:
            return state, no_search(proposer, state, config)

        if config.mode == "interleaved":
            new, info = search(state)
        else:
            is_last = jnp.asarray(trainee.epoch == trainee.epochs - 1)
            new, info = lax.cond(is_last, search, rest, state)
        images = info.pop("evaluations") * images_of_cell(
            config.fitness, len(valid_batch.labels)
        )
        return new, info | {"candidate_images": images}

    def incumbent(state: BlackBoxState) -> Mixing:
        if proposer.answer is None:
            return cells.to_mixing(state.best[0])
        return cells.to_mixing(proposer.answer(state.proposer)[0])

    strategy = Strategy(
        update_every="epoch",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=(),
        draws_batches=True,
        one_hot=True,
        trains_weights=proxy_of(config.fitness) is None,
    )
    return with_limit(strategy, net, config.limit)


def fitness_of(config: BlackBoxConfig, scores: Evaluation) -> Array:
    """Fitness f32[n], lower is better and finite."""
    broken = ~jnp.isfinite(scores.loss)
    value = 1.0 - scores.accuracy if config.fitness == "accuracy" else scores.loss
    return jnp.where(broken, WORST, value)


def search_and_reevaluate(
    config: BlackBoxConfig,
    keys: tuple[Key, Key],
    state: BlackBoxState,
    proposer: Proposer,
    evaluate: Callable[[Array, Batch], Array],
    *,
    batches: tuple[Batch, DrawFn],
) -> tuple[BlackBoxState, dict[str, Array]]:
    """Searches once, and evaluates the finalists again on batches of all images.

    Args:
      config: the shared settings.
      keys: of the search, and of the second evaluation.
      state: before the search.
      proposer: what proposes.
      evaluate: (cells [n, ...], images) -> fitness f32[n].
      batches: images of the search, and what draws those of the second evaluation,
        by their places in one order of all validation images.

    Returns:
      The new state and metrics: those of `search_once`, and "final_fitness".
    """
    (key_search, key_final), (valid_batch, draw_batch) = keys, batches
    result = search_once(
        key_search,
        state,
        proposer,
        lambda cells: evaluate(cells, valid_batch),
        config.generations,
        limit=config.limit,
    )
    of_best = proposer.finalists is None
    reevaluate = reevaluate_best if of_best else reevaluate_members
    state, info = reevaluate(
        proposer,
        result,
        config.final_batches,
        lambda finalists, place: evaluate(finalists, draw_batch(key_final, place)),
    )
    final = without_over(info["final_fitness"], config.limit)
    return state, info | {"final_fitness": final}


def search_once(
    key: Key,
    state: BlackBoxState,
    proposer: Proposer,
    evaluate: Callable[[Array], Array],
    generations: int,
    *,
    limit: Limit = NO_LIMIT,
) -> tuple[BlackBoxState, dict[str, Array]]:
    """Evaluates the population, then one generation after the other.

    The population is evaluated in blocks of the size of a generation, so that one loop
    evaluates both, and the evaluator compiles once.

    Returns:
      The new state and metrics: fitness of the best, of the last generation, the
      number of evaluations, and the course of the search, see `course_of`.
    """
    members = proposer.members(state.proposer)
    _, asked = jax.eval_shape(proposer.ask, key, state.proposer)
    blocks = in_blocks(members, len(asked))

    def step(carry, inputs):
        (state, known), (key, index) = carry, inputs
        is_block = index < len(blocks)
        inner, population = proposer.ask(key, state.proposer)
        block = blocks[jnp.minimum(index, len(blocks) - 1)]
        population = jnp.where(is_block, block, population)
        fitness = evaluate(population)
        known = known.at[index].set(fitness, mode="drop")
        inner = lax.cond(
            is_block,
            lambda: proposer.revalue(state.proposer, known.ravel()[: len(members)]),
            lambda: proposer.tell(inner, population, fitness),
        )
        new = with_best(state.replace(proposer=inner), population, fitness)
        best = without_over(new.best_fitness[0], limit)
        return (new, known), (fitness, {"fitness": best, **proposer.metrics(inner)})

    unknown = jnp.full_like(state.best_fitness, WORST)
    known = jnp.full(blocks.shape[:2], WORST, jnp.float32)
    start = state.replace(best_fitness=unknown), known
    steps = len(blocks) + generations
    keys = jax.random.split(key, steps)
    (new, _), outputs = lax.scan(step, start, (keys, jnp.arange(steps)))
    by_step, course = outputs
    info = {
        "fitness": without_over(new.best_fitness[0], limit),
        "evaluations": jnp.float32(by_step.size),
        **quantiles_within(by_step[-1], limit),
        **limit_metrics(by_step[-1], limit),
        **proposer.metrics(new.proposer),
        **course_of({name: values[len(blocks) :] for name, values in course.items()}),
    }
    return new, info


def course_of(metrics: dict[str, Array]) -> dict[str, Array]:
    """Returns metrics after some generations, at equal distances, f32[points].

    Args:
      metrics: after each generation, f32[generations].

    Returns:
      "NAME_by_generation" of each, and "generation", the numbers of the generations,
      from 1.
    """
    generations = len(metrics["fitness"])
    places = np.linspace(0, generations - 1, min(generations, MOST_POINTS)).round()
    places = places.astype(int)
    chosen = {f"{name}_by_generation": v[places] for name, v in metrics.items()}
    return chosen | {"generation": jnp.asarray(places + 1, jnp.float32)}


def in_blocks(cells: Array, size: int) -> Array:
    """Cells [P, ...] as blocks [ceil(P / size), size, ...]; the first fill the last."""
    number = -(-len(cells) // size)
    return cells[jnp.arange(number * size) % len(cells)].reshape(
        number, size, *cells.shape[1:]
    )


def with_best(state: BlackBoxState, population: Array, fitness: Array) -> BlackBoxState:
    """The state whose best cells are those of before and of a population.

    Of equal fitness the earlier stays first, and a cell stands once.
    """
    cells = jnp.concatenate([state.best, population])
    values = jnp.concatenate([state.best_fitness, fitness])
    flat = cells.reshape(len(cells), -1)
    equal = jnp.all(flat[:, None, :] == flat[None, :, :], axis=-1)
    # What is known before counts first; the entries before any search count last.
    place = jnp.arange(len(cells))
    is_real = values < WORST
    earlier = (place[None, :] < place[:, None]) & is_real[None, :]
    values = jnp.where(jnp.any(equal & earlier, axis=1), WORST, values)
    chosen = jnp.argsort(values, stable=True)[: len(state.best)]
    return state.replace(best=cells[chosen], best_fitness=values[chosen])


def reevaluate_best(
    proposer: Proposer,
    result: tuple[BlackBoxState, dict[str, Array]],
    batches: int,
    evaluate: Callable[[Array, Array], Array],
) -> tuple[BlackBoxState, dict[str, Array]]:
    """Orders the best cells by their mean fitness on a number of batches.

    Args:
      proposer: what proposed them.
      result: state and metrics of `search_once`.
      batches: how many; without any, the order stays.
      evaluate: (cells [F, ...], number of the batch) -> fitness f32[F].

    Returns:
      The state, and the metrics with "final_fitness", that of the answered cell.
    """
    del proposer
    state, info = result
    if batches == 0:
        return state, info | {"final_fitness": state.best_fitness[0]}
    fitness = lax.map(lambda place: evaluate(state.best, place), jnp.arange(batches))
    mean = mean_fitness(fitness)
    # Entries that no search has filled stay last.
    order = jnp.argsort(jnp.where(state.best_fitness < WORST, mean, WORST), stable=True)
    new = state.replace(best=state.best[order], best_fitness=state.best_fitness[order])
    return new, info | {
        "final_fitness": mean[order[0]],
        "evaluations": info["evaluations"] + float(fitness.size),
    }


def mean_fitness(fitness: Array) -> Array:
    """Mean over batches of a fitness [batches, F]; the worst where a batch has none."""
    worst = jnp.max(fitness, axis=0)
    return jnp.where(worst >= WORST_WITHIN, worst, jnp.mean(fitness, axis=0))


def reevaluate_members(
    proposer: Proposer,
    result: tuple[BlackBoxState, dict[str, Array]],
    batches: int,
    evaluate: Callable[[Array, Array], Array],
) -> tuple[BlackBoxState, dict[str, Array]]:
    """Replaces the fitness of the finalists by their mean on a number of batches.

    The members that are no finalists have the worst fitness then, since theirs does not
    compare. Arguments and results are those of `reevaluate_best`.
    """
    state, info = result
    if batches > 0:
        members = proposer.members(state.proposer)
        chosen = proposer.finalists(state.proposer, len(state.best))
        places = jnp.arange(batches)
        fitness = lax.map(lambda place: evaluate(members[chosen], place), places)
        unknown = jnp.full((len(members),), WORST, jnp.float32)
        known = unknown.at[chosen].set(mean_fitness(fitness))
        state = state.replace(proposer=proposer.revalue(state.proposer, known))
        evaluations = info["evaluations"] + float(fitness.size)
        info = info | {"evaluations": evaluations}
    return state, info | {"final_fitness": proposer.answer(state.proposer)[1]}


def no_search(
    proposer: Proposer, state: BlackBoxState, config: BlackBoxConfig
) -> dict[str, Array]:
    """The metrics of an epoch without a search: missing numbers, and no evaluation.

    A missing number is infinite here, and None in the record, as is a whole list of
    them: NaN would stop a process that looks for it (`JAX_DEBUG_NANS`).
    """
    of_proposer = proposer.metrics(state.proposer)
    names = [
        "fitness",
        "final_fitness",
        *quantile_names("fitness"),
        *of_proposer,
        *limit_metrics(state.best_fitness, config.limit),
    ]
    empty = jnp.zeros(config.generations, jnp.float32)
    course = course_of(dict.fromkeys(("fitness", *of_proposer), empty))
    unknown = jnp.float32(jnp.inf)
    return (
        dict.fromkeys(names, unknown)
        | {name: jnp.full_like(v, unknown) for name, v in course.items()}
        | {"evaluations": jnp.float32(0.0)}
    )
