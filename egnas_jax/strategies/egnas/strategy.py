"""Implements EG-NAS: gradient descent on the weights, an evolution strategy on alpha.

Once an epoch (after warm-up) N populations are drawn around alpha, evolved for T
generations and ranked by the compound fitness; alpha steps along the best individual.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1. Where paper, report and official
code differ, an option of `EGNASConfig` decides.
"""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.search.strategy import Strategy, Trainee
from egnas_jax.space import SPACES, Space
from egnas_jax.space.derivation import check_rule
from egnas_jax.strategies.egnas import weight_grid
from egnas_jax.strategies.egnas.config import EGNASConfig, EGNASHyperparams
from egnas_jax.strategies.egnas.evaluation import (
    Evaluate,
    EvaluatedPopulation,
    RaceOfPopulation,
    make_evaluate,
    make_evaluate_each,
)
from egnas_jax.strategies.egnas.explore import Exploration, explore
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.sampling import initial_state
from egnas_jax.strategies.egnas.state import EGNASState
from egnas_jax.strategies.limits.costs import (
    limit_metrics,
    make_excess,
    quantiles_within,
    without_over,
)
from egnas_jax.strategies.limits.derivation import with_limit
from egnas_jax.strategies.limits.derived import derived_mixing
from egnas_jax.strategies.population_statistics import (
    quantile_names,
    quantiles,
    unknown_quantiles,
)
from egnas_jax.strategies.proxy_fitness import check_proxy_space, make_proxy_evaluate
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree


def egnas(net: Supernet, config: EGNASConfig) -> Strategy:
    """Makes EG-NAS a strategy of the search loop.

    Raises:
      ValueError: no cell keeps the limits, the proxy cannot read the space's layers, or
        an option compares derived cells in a space that derives them by a function.
    """
    space = SPACES[net.config.space]
    _check_derives(space, config)
    excess = make_excess(space, net.config.num_classes, config.limit)
    check_proxy_space(config.fitness, net)

    def init(key: Key, hyperparams: EGNASHyperparams) -> EGNASState:
        return initial_state(EGNAS(space, config, hyperparams, excess), key)

    def mixing(key: Key, state: EGNASState) -> Mixing:
        del key
        return softmax_mixing(state.alpha, space)

    def update(
        key: Key,
        state: EGNASState,
        hyperparams: EGNASHyperparams,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
    ) -> tuple[EGNASState, dict[str, Array]]:
        del train_batch  # the loop trains the weights
        method = EGNAS(space, config, hyperparams, excess)

        def run_exploration():
            supernet = net, trainee.variables, valid_batch, config
            each = make_evaluate_each(*supernet) if config.races else None
            if config.proxy is None:
                evaluate = make_evaluate(*supernet)
            else:
                evaluate = _make_proxy_evaluate(*supernet, key)
            new, exploration = explore(method, evaluate, key, state, each)
            return new, _info(config, new, exploration)

        new, info = lax.cond(
            # equal in all searches of a batch, so that none explores in the warm-up
            trainee.epoch >= config.first_exploration,
            run_exploration,
            lambda: (state, _no_info(config)),
        )
        return new.replace(epochs=state.epochs + 1), info

    def incumbent(state: EGNASState) -> Mixing:
        return softmax_mixing(state.alpha, space)

    strategy = Strategy(
        update_every="epoch",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=config.hyperparams,
        trains_weights=config.proxy is None,
    )
    return with_limit(strategy, net, config.limit)


def _check_derives(space: Space, config: EGNASConfig):
    """Refuses options that would derive other cells than the space's own function."""
    if config.repeats == "redrawn":
        hint = "strategy.repeats=redrawn compares cells of a rule: set it to kept."
        check_rule(space, hint)
    if config.proxy is not None:
        hint = (
            f"strategy.fitness={config.fitness} scores cells of a rule: leave it out."
        )
        check_rule(space, hint)


def _make_proxy_evaluate(
    net: Supernet, variables: PyTree, batch: Batch, config: EGNASConfig, key: Key
) -> Evaluate:
    """Returns a function that scores the cells that are derived of mixings."""
    space = SPACES[net.config.space]
    arguments = net, config.fitness, variables, batch, key
    chunk = config.population_chunk
    evaluate = make_proxy_evaluate(*arguments, population_chunk=chunk)
    return lambda mixings: evaluate(
        jax.vmap(lambda mixing: derived_mixing(space, mixing))(mixings)
    )


def _info(
    config: EGNASConfig, state: EGNASState, exploration: Exploration
) -> dict[str, Array]:
    """Metrics of an exploration; their names do not depend on what happens in it."""
    populations, best = exploration.populations, exploration.best
    race = populations.race
    info = {
        "fitness": without_over(best.fitness, config.limit),
        "fitness_accuracy": _accuracy(config, best.correct, best.batches),
        "sigma": exploration.sigma,
        "skipped": state.skipped.astype(jnp.float32),
        "candidate_images": _candidate_images(config, race),
        **quantiles_within(populations.fitness, config.limit),
        **quantiles(similarity=populations.similarity),
        **_accuracies(config, populations),
        **limit_metrics(populations.fitness, config.limit),
    }
    if race is not None:
        info["race_rounds"] = jnp.mean(race.rounds.astype(jnp.float32))
    if config.weight_grid:
        info |= weight_grid.grid_metrics(populations, config.sign, config.tie)
    return info


def _accuracies(
    config: EGNASConfig, populations: EvaluatedPopulation
) -> dict[str, Array]:
    """Quantiles of the accuracy, which a proxy does not have."""
    if config.proxy is not None:
        return unknown_quantiles("accuracy")
    race = populations.race
    return quantiles(
        accuracy=_accuracy(config, populations.correct, race and race.batches)
    )


def _accuracy(config: EGNASConfig, correct: Array, batches: Array | None) -> Array:
    """Share of correct answers; infinite, a missing number, where a proxy scores."""
    if config.proxy is not None:
        return jnp.full(correct.shape, jnp.inf, jnp.float32)
    if batches is None:
        return correct / config.valid_batch_size
    return correct / (config.fitness_batch_size * jnp.maximum(batches, 1))


def _candidate_images(config: EGNASConfig, race: RaceOfPopulation | None) -> Array:
    """Forward passes of one image that an exploration took, f32[]."""
    if race is None:
        return jnp.float32(config.images_evaluated)
    images = jnp.sum(race.evaluations) * config.fitness_batch_size
    return (images + config.images_of_samples).astype(jnp.float32)


def _no_info(config: EGNASConfig) -> dict[str, Array]:
    """Metrics of an epoch without an exploration.

    A missing number is infinite here, and None in the record: NaN would stop a process
    that looks for NaNs (JAX_DEBUG_NANS).
    """
    names = quantile_names("fitness", "accuracy", "similarity")
    missing = dict.fromkeys(
        ["fitness", "fitness_accuracy", "sigma", *names],
        jnp.full((), jnp.inf, jnp.float32),
    )
    populations = config.samples * config.generations
    info = weight_grid.no_grid_metrics(populations) if config.weight_grid else {}
    zero = jnp.zeros(())
    info |= limit_metrics(zero, config.limit)  # no individual was over it
    if config.races:
        info["race_rounds"] = zero
    return {**info, **missing, "skipped": zero, "candidate_images": zero}
