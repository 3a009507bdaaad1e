"""Implements ENAS, and PPO in the style of NASNet-A: an LSTM learns to draw cells.

The weights train under a fresh cell at every step. After an epoch's weight steps the
controller is trained for some steps on validation accuracies. Then the best of some
fresh cells, on one batch, becomes the incumbent. With PPO the incumbent of the epoch
before is evaluated beside them, since NASNet's search returns the best of all cells
that it has seen.

Sources: Pham et al., ICML 2018, and its published code; Zoph et al., CVPR 2018, whose
search code is not public.

Dims: S cells of one step of the controller, T decisions.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.controller.policy import Policy
from egnas_jax.controller.ppo import PPOOptions, ppo_update
from egnas_jax.controller.reinforce import ReinforceOptions, reinforce_update
from egnas_jax.controller.training import AdamOptions, PolicyState, init_policy
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.strategy import DrawFn, Strategy, Trainee
from egnas_jax.space import SPACES
from egnas_jax.strategies.controller.choices import policy_of
from egnas_jax.strategies.controller.config import (
    ControllerConfig,
    ENASConfig,
    PPOConfig,
)
from egnas_jax.strategies.controller.rewards import RewardEvaluator
from egnas_jax.strategies.discrete.cells import cells_of
from egnas_jax.strategies.limits.costs import make_excess
from egnas_jax.strategies.limits.derivation import with_limit
from egnas_jax.strategies.proxy_fitness import (
    check_proxy_space,
    images_of_cell,
    proxy_of,
)
from egnas_jax.types import Array, Batch, Key, Mixing

# (state of the policy, choices i32[S, T], rewards f32[S]) -> state, metrics
UpdatePolicyFn = Callable[[PolicyState, Array, Array], tuple[PolicyState, Any]]


@flax.struct.dataclass
class ControllerHyperparams:
    """The numbers of the controller's training that affect no shape."""

    learning_rate: Array | float
    baseline: Array | float
    entropy_weight: Array | float


@flax.struct.dataclass
class ControllerState:
    """What a controller carries.

    Attributes:
      policy: the controller as it is being trained.
      best: choices of the incumbent, i32[T].
    """

    policy: PolicyState
    best: Array


def enas(net: Supernet, config: ENASConfig) -> Strategy:
    """Makes ENAS a strategy of the search loop."""

    def make_update(policy: Policy, numbers: ControllerHyperparams) -> UpdatePolicyFn:
        options = ReinforceOptions(
            adam=AdamOptions(
                numbers.learning_rate, beta1=0.0, eps=1e-3, tensorflow_eps=True
            ),
            baseline_decay=numbers.baseline,
            entropy_weight=numbers.entropy_weight,
        )

        def update(state, choices, reward):
            new, seen = reinforce_update(policy, options, state, choices, reward)
            return new, {
                "policy_entropy": jnp.mean(seen.entropy),
                "baseline": seen.baseline[-1],
            }

        return update

    return _controller(net, config, make_update, keeps_best=False)


def nasnet_ppo(net: Supernet, config: PPOConfig) -> Strategy:
    """Makes the controller with PPO a strategy of the search loop."""

    def make_update(policy: Policy, numbers: ControllerHyperparams) -> UpdatePolicyFn:
        options = PPOOptions(
            adam=AdamOptions(numbers.learning_rate),
            baseline_decay=numbers.baseline,
            entropy_weight=numbers.entropy_weight,
            clip=config.clip,
            epochs=config.epochs,
            level=config.level,
        )

        def update(state, choices, reward):
            new, seen = ppo_update(policy, options, state, choices, reward)
            return new, {
                "policy_entropy": seen.entropy,
                "baseline": seen.baseline,
                "clipped_ratios": seen.clipped,
            }

        return update

    return _controller(net, config, make_update, keeps_best=True)


def _controller(
    net: Supernet,
    config: ControllerConfig,
    make_update: Callable[[Policy, ControllerHyperparams], UpdatePolicyFn],
    *,
    keeps_best: bool,
) -> Strategy:
    """The strategy of a controller, whatever rule trains it.

    Args:
      net: the supernet.
      config: the settings that both controllers share.
      make_update: (policy, numbers) -> how the policy learns from rewards.
      keeps_best: whether the incumbent of the epoch before is evaluated beside the
        finalists.
    """
    space = SPACES[net.config.space]
    policy, cells = policy_of(space, config), cells_of(space)
    excess = make_excess(space, net.config.num_classes, config.limit)
    check_proxy_space(config.fitness, net)
    evaluator = RewardEvaluator(net, config, space, cells, excess)

    def init(key: Key, hyperparams: ControllerHyperparams) -> ControllerState:
        del hyperparams
        key_params, key_best = jax.random.split(key)
        start = init_policy(key_params, policy)
        return ControllerState(start, policy.sample(key_best, start.params))

    def mixing(key: Key, state: ControllerState) -> Mixing:
        return evaluator.mixing(policy.sample(key, state.policy.params))

    def update(
        key: Key,
        state: ControllerState,
        hyperparams: ControllerHyperparams,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
        draw_batch: DrawFn,
    ) -> tuple[ControllerState, dict[str, Array]]:
        del train_batch
        update_policy = make_update(policy, hyperparams)

        def step(trained, key):
            key_sample, key_batch = jax.random.split(key)
            choices = _samples(policy, key_sample, trained, config.samples)
            reward = evaluator.rewards(key_batch, trainee, choices, draw_batch)
            new, info = update_policy(trained, choices, reward)
            return new, info | {"reward": jnp.mean(reward)}

        key_steps, key_final = jax.random.split(key)
        keys = jax.random.split(key_steps, config.steps)
        trained, infos = lax.scan(step, state.policy, keys)
        finalists = _samples(policy, key_final, trained, config.finalists)
        if keeps_best:
            finalists = jnp.concatenate([state.best[None], finalists])
        values = evaluator.values_on(key_final, trainee, finalists, valid_batch)
        reward = evaluator.rewards_of(values, finalists)
        evaluated = config.steps * config.samples + len(finalists)
        images = images_of_cell(config.fitness, config.batch_size)
        info = jax.tree.map(lambda values: values[-1], infos) | {
            "reward": jnp.mean(infos["reward"]),
            "fitness": evaluator.fitness(values, reward),
            "candidate_images": jnp.float32(evaluated * images),
        }
        return ControllerState(trained, finalists[jnp.argmax(reward)]), info

    strategy = Strategy(
        update_every="epoch",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=lambda state: evaluator.mixing(state.best),
        hyperparams=ControllerHyperparams(
            config.learning_rate, config.baseline, config.entropy_weight
        ),
        draws_batches=True,
        one_hot=True,
        trains_weights=proxy_of(config.fitness) is None,
    )
    return with_limit(strategy, net, config.limit)


def _samples(policy: Policy, key: Key, trained: PolicyState, number: int) -> Array:
    """Choices i32[number, T] of the policy."""
    keys = jax.random.split(key, number)
    return jax.vmap(lambda k: policy.sample(k, trained.params))(keys)
