"""Runs black-box searches under shared weights, whatever proposes the cells.

The weights train under uniform random cells, as in random search. A fitness of one
epoch does not compare with that of another, because the weights have moved. Two modes
follow: `two_phase` searches after the last epoch alone, with frozen weights and on the
same images, so that all fitnesses compare; `interleaved` searches in every epoch, and
evaluates the population anew first.

A search ranks best those cells that its images happen to favour, so the finalists are
evaluated again on the whole validation half.

Dims: n cells of one generation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.strategy import DrawFn, Strategy, Trainee
from egnas_jax.space import SPACES
from egnas_jax.strategies.discrete.cells import Cells
from egnas_jax.strategies.discrete.config import BlackBoxConfig
from egnas_jax.strategies.discrete.finalists import reevaluate_best, reevaluate_members
from egnas_jax.strategies.discrete.generations import (
    WORST,
    BlackBoxState,
    Proposer,
    no_search,
    search_once,
)
from egnas_jax.strategies.limits.costs import (
    limited_fitness,
    make_excess,
    without_over,
)
from egnas_jax.strategies.limits.derivation import with_limit
from egnas_jax.strategies.proxy_fitness import (
    check_proxy_space,
    images_of_cell,
    make_cell_evaluate,
    proxy_of,
)
from egnas_jax.strategies.random_search import random_child
from egnas_jax.types import Array, Batch, Evaluation, Key, Mixing


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
            return search_and_reevaluate(
                config,
                state,
                proposer,
                evaluate,
                key_search=key_search,
                key_final=key_final,
                valid_batch=valid_batch,
                draw_batch=draw_batch,
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
    state: BlackBoxState,
    proposer: Proposer,
    evaluate: Callable[[Array, Batch], Array],
    *,
    key_search: Key,
    key_final: Key,
    valid_batch: Batch,
    draw_batch: DrawFn,
) -> tuple[BlackBoxState, dict[str, Array]]:
    """Searches once, and evaluates the finalists again on batches of all images.

    Args:
      config: the shared settings.
      state: before the search.
      proposer: what proposes.
      evaluate: (cells [n, ...], images) -> fitness f32[n].
      key_search: of the search.
      key_final: of the order of all validation images in the second evaluation.
      valid_batch: images of the search.
      draw_batch: draws the batches of that order.

    Returns:
      The new state and metrics: those of `search_once`, and "final_fitness".
    """

    def evaluate_again(finalists: Array, place: Array) -> Array:
        return evaluate(finalists, draw_batch(key_final, place))

    result = search_once(
        key_search,
        state,
        proposer,
        lambda cells: evaluate(cells, valid_batch),
        config.generations,
        limit=config.limit,
    )
    batches = config.final_batches
    if proposer.finalists is None:
        state, info = reevaluate_best(result, batches, evaluate_again)
    else:
        state, info = reevaluate_members(proposer, result, batches, evaluate_again)
    final = without_over(info["final_fitness"], config.limit)
    return state, info | {"final_fitness": final}
