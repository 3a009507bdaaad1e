"""EG-NAS: gradient descent on the weights, an evolution strategy on alpha.

Once an epoch (after warm-up) N populations are drawn around alpha, evolved for T
generations and ranked by the compound fitness; alpha steps along the best individual.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1. Where paper, report and reference
code differ, an option of `EGNASConfig` decides.
"""

import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.search.strategy import Strategy
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas import weight_grid
from egnas_jax.strategies.egnas.config import SWEPT, EGNASConfig, with_traced
from egnas_jax.strategies.egnas.evaluation import evaluator
from egnas_jax.strategies.egnas.explore import EGNASState, explore, initial_state
from egnas_jax.strategies.population_statistics import names as spread_names
from egnas_jax.strategies.population_statistics import spread
from egnas_jax.types import Array, Key, Mixing


def egnas(net: Supernet, config: EGNASConfig) -> Strategy:
    """EG-NAS as a strategy of the search loop."""
    space = SPACES[net.config.space]

    def init(key: Key) -> EGNASState:
        return initial_state(space, key)

    def mixing(key: Key, state: EGNASState) -> Mixing:
        del key
        return softmax_mixing(state.alpha)

    def update(key, state, variables, train_batch, valid_batch):
        del train_batch  # weights are the loop's business

        def explored():
            evaluate = evaluator(net, variables, *valid_batch, config)
            moved, found = explore(space, config, evaluate, key, state)
            return moved, _info(config, moved, found, len(valid_batch.labels))

        state, info = lax.cond(
            state.epochs >= config.warmup, explored, lambda: (state, _no_info(config))
        )
        return state._replace(epochs=state.epochs + 1), info

    def incumbent(state: EGNASState) -> Mixing:
        return softmax_mixing(state.alpha)

    def given(numbers: dict[str, Array]) -> Strategy:
        return egnas(net, with_traced(config, numbers))

    numbers = {name: getattr(config, name) for name in SWEPT}
    size = config.valid_batch_size
    return Strategy(
        "epoch", init, mixing, update, incumbent, size, config, numbers, given
    )


def _info(config, state, found, images):
    """Figures of an exploration; their names do not depend on what happens in it."""
    evaluated = found.populations
    info = {
        "fitness": found.best.fitness,
        "fitness_accuracy": found.best.correct / images,
        "sigma": found.sigma,
        "skipped": state.skipped.astype(jnp.float32),
        "candidate_images": jnp.float32(images_evaluated(config)),
        **spread(
            fitness=evaluated.fitness,
            accuracy=evaluated.correct / images,
            similarity=evaluated.similarity,
        ),
    }
    if config.weight_grid:
        info |= weight_grid.figures(evaluated, config.sign, config.tie)
    return info


def _no_info(config):
    """Of an epoch without an exploration. Infinite where there is no figure, which is
    recorded as none: NaN would stop a process that looks for others (JAX_DEBUG_NANS).
    """
    names = [
        "fitness",
        "fitness_accuracy",
        "sigma",
        *spread_names("fitness", "accuracy", "similarity"),
    ]
    populations = config.samples * config.generations
    grid = weight_grid.no_figures(populations) if config.weight_grid else {}
    return {
        **grid,
        **dict.fromkeys(names, jnp.full((), jnp.inf, jnp.float32)),
        "skipped": jnp.zeros(()),
        "candidate_images": jnp.zeros(()),
    }


def mixings_evaluated(config: EGNASConfig) -> int:
    """Mixings that one exploration prices.

    Alpha rides along with every population; `best_sample="accuracy"` prices the
    leaders of the samples once more.
    """
    evaluated = config.samples * config.generations * config.individuals
    return evaluated + config.samples * (config.best_sample == "accuracy")


def images_evaluated(config: EGNASConfig) -> int:
    """Images that go through the supernet in one exploration, one forward each."""
    return mixings_evaluated(config) * config.valid_batch_size
