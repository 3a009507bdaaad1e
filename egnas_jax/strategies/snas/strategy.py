"""Implements SNAS: one-level training of weights and log alpha by the Gumbel-softmax.

Every weight step trains under one sample of cells. The gradient that the step has
computed for that sample also moves log alpha, so there is no validation pass.

Source: SNAS (Xie et al., ICLR 2019); train_search.py of its reference: log alpha starts
at N(1, 0.01); SGD(3e-4) on log alpha, its gradient clipped to norm 10; a temperature
from 1 to 0.03 over 150 epochs. The reference also trains on the validation images.

Dims: E edges, K primitives.
"""

from collections.abc import Mapping

import flax.struct
import jax
import optax

from egnas_jax.nn.supernet import Supernet, SupernetConfig
from egnas_jax.search.cost import Passes
from egnas_jax.search.gradients import softmax_gradient
from egnas_jax.search.relax import live_rows, softmax_mixing, unflatten, unweighted
from egnas_jax.search.strategy import DeriveFn, Strategy, Trainee
from egnas_jax.space import SPACES, Space
from egnas_jax.space.all_edges import derive_all_edges
from egnas_jax.strategies.alpha_adam import (
    AdamHyperparams,
    adam,
    optimizer_step,
)
from egnas_jax.strategies.snas.config import SNASConfig, SNASHyperparams
from egnas_jax.strategies.snas.gumbel import (
    gumbel_noise,
    gumbel_softmax,
    temperature_of,
)
from egnas_jax.strategies.snas.resources import (
    PUBLISHED_CELLS,
    check_costs,
    penalty,
    resource_tables,
)
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree


@flax.struct.dataclass
class SNASState:
    """What SNAS carries.

    Attributes:
      alpha: log alpha, cell kind -> f32[E, K].
      optimizer: of alpha.
      temperature: of the running epoch, f32[].
    """

    alpha: dict[str, Array]
    optimizer: PyTree
    temperature: Array


def snas(net: Supernet, config: SNASConfig) -> Strategy:
    """Makes SNAS a strategy of the search loop.

    Raises:
      ValueError: there is a resource penalty, and the space has primitives without
        costs; or there is a resource penalty or a drop path, and the space has another
        macro structure than that of DARTS; or nodes shall keep two edges, and the space
        has another rule.
    """
    space = SPACES[net.config.space]
    _check_space(net.config, config)
    num_cells = PUBLISHED_CELLS if config.resource_cells == "six_and_two" else None

    def init(key: Key, hyperparams: SNASHyperparams) -> SNASState:
        alpha = unflatten(space, 1.0 + 0.01 * jax.random.normal(key, (space.dim,)))
        optimizer = _optimizer(config, hyperparams).init(alpha)
        return SNASState(alpha, optimizer, _temperature(0, hyperparams))

    def mixing(key: Key, state: SNASState) -> Mixing:
        noise = gumbel_noise(key, state.alpha)
        rows = live_rows(space, state.alpha)
        return unweighted(gumbel_softmax(rows, noise, state.temperature))

    def update(
        key: Key,
        state: SNASState,
        hyperparams: SNASHyperparams,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
    ) -> tuple[SNASState, dict[str, Array]]:
        del key, train_batch, valid_batch  # `learn` moves alpha
        temperature = _temperature(trainee.epoch, hyperparams)
        return state.replace(temperature=temperature), {}

    def learn(
        state: SNASState,
        hyperparams: SNASHyperparams,
        *,
        mixing: Mixing,
        gradient: Mixing,
        train_batch: Batch,
    ) -> SNASState:
        by_rows = gradient.primitives
        if config.resource_penalty > 0:
            image_size = train_batch.images.shape[1:3]
            of_penalty = penalty_gradient(
                net.config, image_size, mixing.primitives, num_cells
            )
            by_rows = jax.tree.map(
                lambda g, p: g + config.resource_penalty * p, by_rows, of_penalty
            )
        return _alpha_step(config, hyperparams, state, mixing.primitives, by_rows)

    def incumbent(state: SNASState) -> Mixing:
        return softmax_mixing(state.alpha, space)

    return Strategy(
        update_every="step",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=config.hyperparams,
        learn=learn,
        derive=_derivation(space, config),
        metrics=lambda state: {"temperature": state.temperature},
        drop_path=config.drop_path,
        passes=Passes(),  # it learns from the gradient of the weight step
    )


def _check_space(supernet: SupernetConfig, config: SNASConfig) -> None:
    """Refuses options that the cells of a space cannot have."""
    if config.resource_penalty > 0:
        check_costs(supernet)
    space = SPACES[supernet.space]
    if config.drop_path > 0 and space.macro != "darts":
        raise ValueError(
            f"strategy.drop_path is {config.drop_path}, but edges can only be dropped "
            f"in networks of the macro structure darts, and the space {space.name} has "
            f"{space.macro}. Set it to 0."
        )
    if config.derive == "two" and not space.keeps_two_edges:
        raise ValueError(
            f"strategy.derive is two, but the nodes of the space {space.name} keep "
            f"other edges, by a rule of its own. Leave it out."
        )


def _alpha_step(config, hyperparams, state, rows, gradient) -> SNASState:
    """The state after one step on log alpha; `gradient` is that of `rows`."""
    alpha, optimizer = optimizer_step(
        _optimizer(config, hyperparams),
        log_alpha_gradient(rows, gradient, state.temperature),
        state.optimizer,
        state.alpha,
    )
    return state.replace(alpha=alpha, optimizer=optimizer)


def log_alpha_gradient(
    rows: dict[str, Array], gradient: dict[str, Array], temperature: Array
) -> dict[str, Array]:
    """Returns the gradient of log alpha from that of its sample, the noise constant.

    Args:
      rows: result of `gumbel_softmax`, cell kind -> f32[E, K].
      gradient: of the loss with respect to `rows`.
      temperature: under which they were sampled, f32[].
    """
    return {
        kind: softmax_gradient(rows[kind], gradient[kind]) / temperature
        for kind in rows
    }


def penalty_gradient(
    config: SupernetConfig,
    image_size: tuple[int, int],
    rows: dict[str, Array],
    num_cells: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """Returns the gradient of the resource term with respect to the rows of a mixing.

    Args:
      config: of the supernet.
      image_size: H, W.
      rows: cell kind -> f32[E, K].
      num_cells: see `resources.penalty`.
    """
    tables = resource_tables(config, image_size)
    return jax.grad(lambda rows: penalty(rows, tables, num_cells))(rows)


def _temperature(epoch: Array | int, hyperparams: SNASHyperparams) -> Array:
    return temperature_of(
        epoch,
        hyperparams.temperature,
        hyperparams.temperature_min,
        hyperparams.temperature_epochs,
    )


def _optimizer(
    config: SNASConfig, hyperparams: SNASHyperparams
) -> optax.GradientTransformation:
    numbers = AdamHyperparams(
        hyperparams.learning_rate, hyperparams.beta1, hyperparams.weight_decay
    )
    sgd = optax.chain(
        optax.add_decayed_weights(numbers.weight_decay),
        optax.sgd(numbers.learning_rate),
    )
    return optax.chain(
        optax.clip_by_global_norm(hyperparams.clip_norm),
        adam(numbers) if config.alpha_optimizer == "adam" else sgd,
    )


def _derivation(space: Space, config: SNASConfig) -> DeriveFn | None:
    """The method's own rule; None for that of the space.

    Where the space's own rule does not choose two edges of a node, it stands.
    """
    if config.derive == "two" or not space.keeps_two_edges:
        return None

    def derive(mixing: Mixing):
        return derive_all_edges(space, mixing)

    return derive
