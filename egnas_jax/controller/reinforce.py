"""Implements REINFORCE with a moving average of rewards as baseline.

Sources: Williams (1992); the published code of ENAS, whose baseline moves before it is
subtracted, once for each sample; AutoDL's REINFORCE on NAS-Bench-201, whose average is
corrected for its start at zero.

Dims: S sequences of one update, T decisions.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.controller.policy import Policy
from egnas_jax.controller.training import AdamOptions, PolicyState, descend
from egnas_jax.types import Array, PyTree


@flax.struct.dataclass
class ReinforceOptions:
    """Numbers of REINFORCE.

    Attributes:
      adam: of the parameters.
      baseline_decay: share of the average that stays when a reward enters it.
      entropy_weight: weight of a sequence's entropy in its reward.
      corrected_baseline: whether the average is divided by the sum of its weights, so
        that the first advantage is 0; else it starts at 0.
    """

    adam: AdamOptions
    baseline_decay: Array | float
    entropy_weight: Array | float = 0.0
    corrected_baseline: bool = flax.struct.field(pytree_node=False, default=False)


@flax.struct.dataclass
class ReinforceSteps:
    """The S samples of one update, f32[S] each; in units of the reward except entropy.

    Attributes:
      reward: the reward with the share of the entropy.
      baseline: the moving average after it moved for this sample.
      entropy: of the sequence's decisions, their sum in nats.
    """

    reward: Array
    baseline: Array
    entropy: Array


def reinforce_update(
    policy: Policy,
    options: ReinforceOptions,
    state: PolicyState,
    choices: Array,
    rewards: Array,
) -> tuple[PolicyState, ReinforceSteps]:
    """One step of Adam by the mean gradient of several samples.

    Args:
      policy: what is trained.
      options: numbers of REINFORCE.
      state: before the update.
      choices: i32[S, T], sampled under `state.params`.
      rewards: f32[S]; larger is better, and NaN counts as 0.
    """
    scores = jax.vmap(policy.score, in_axes=(None, 0))(state.params, choices)
    entropy = jnp.sum(scores.entropy, axis=1)
    rewards = jnp.nan_to_num(rewards) + options.entropy_weight * entropy

    def move(carry, reward):
        average, seen = carry
        seen = seen + 1
        share = 1.0 - options.baseline_decay
        if options.corrected_baseline:
            total = 1.0 - options.baseline_decay ** seen.astype(jnp.float32)
            # Exactly 1 at first, so that the first advantage is exactly 0: Adam would
            # turn any rounding error of it into a whole step.
            share = jnp.where(seen == 1, 1.0, share / total)
        average = average - share * (average - reward)
        return (average, seen), average

    start = state.baseline, state.rewards_seen
    (average, seen), baseline = lax.scan(move, start, rewards)
    advantage = rewards - baseline
    new = descend(
        state,
        lambda params: reinforce_loss(policy, params, choices, advantage),
        options.adam,
    )
    new = new.replace(baseline=average, rewards_seen=seen)
    return new, ReinforceSteps(rewards, baseline, entropy)


def reinforce_loss(
    policy: Policy, params: PyTree, choices: Array, advantage: Array
) -> Array:
    """Mean of -log p times advantage, f32[]; its gradient is REINFORCE's.

    Args:
      policy, params: what is trained.
      choices: i32[S, T].
      advantage: f32[S].
    """
    scores = jax.vmap(policy.score, in_axes=(None, 0))(params, choices)
    return -jnp.mean(jnp.sum(scores.log_prob, axis=1) * advantage)
