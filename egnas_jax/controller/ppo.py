"""Implements the clipped surrogate of proximal policy optimisation.

Source: Schulman et al. (2017). NASNet (Zoph et al., CVPR 2018) trains its controller by
PPO with a moving average of rewards as baseline, but its code is not public: clip,
epochs and the level of the ratio are choices of ours.

Dims: S sequences of one update, T decisions.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.controller.policy import Policy
from egnas_jax.controller.training import AdamOptions, PolicyState, descend
from egnas_jax.types import Array, PyTree

LEVELS = ("decision", "sequence")


@flax.struct.dataclass
class PPOOptions:
    """Numbers of PPO.

    Attributes:
      adam: of the parameters.
      baseline_decay: share of the average that stays when a batch enters it.
      entropy_weight: weight of the mean entropy of a decision in the objective.
      clip: ratios count within 1 +- clip.
      epochs: steps of Adam on one batch.
      level: whether there is a ratio for each "decision" or for each "sequence".
    """

    adam: AdamOptions
    baseline_decay: Array | float = 0.95
    entropy_weight: Array | float = 1e-5
    clip: Array | float = 0.2
    epochs: int = flax.struct.field(pytree_node=False, default=4)
    level: str = flax.struct.field(pytree_node=False, default="decision")


@flax.struct.dataclass
class PPOBatch:
    """Sequences that were sampled under old parameters.

    Attributes:
      choices: i32[S, T].
      old_log_prob: f32[S, T].
      advantage: f32[S].
    """

    choices: Array
    old_log_prob: Array
    advantage: Array


@flax.struct.dataclass
class PPOSteps:
    """Measures of one update, f32[] each.

    Attributes:
      baseline: mean reward before this batch entered it.
      entropy: mean over sequences of the sum over decisions, before the update.
      clipped: share of the ratios beyond the clip, after the update.
    """

    baseline: Array
    entropy: Array
    clipped: Array


def ppo_update(
    policy: Policy,
    options: PPOOptions,
    state: PolicyState,
    choices: Array,
    rewards: Array,
) -> tuple[PolicyState, PPOSteps]:
    """Several steps of Adam on one batch of samples.

    The baseline is the average before this batch; the first batch has its own mean.

    Args:
      policy: what is trained.
      options: numbers of PPO.
      state: before the update.
      choices: i32[S, T], sampled under `state.params`.
      rewards: f32[S]; larger is better, and NaN counts as 0.
    """
    rewards = jnp.nan_to_num(rewards)
    mean = jnp.mean(rewards)
    baseline = jnp.where(state.rewards_seen == 0, mean, state.baseline)
    old = jax.vmap(policy.score, in_axes=(None, 0))(state.params, choices)
    batch = PPOBatch(choices, old.log_prob, rewards - baseline)

    def epoch(state, _):
        def loss(params):
            return -ppo_objective(policy, options, params, batch)

        return descend(state, loss, options.adam), None

    new, _ = lax.scan(epoch, state, None, length=options.epochs)
    new = new.replace(
        baseline=baseline + (1.0 - options.baseline_decay) * (mean - baseline),
        rewards_seen=state.rewards_seen + 1,
    )
    after = jax.vmap(policy.score, in_axes=(None, 0))(new.params, choices)
    ratio = ratios(options.level, after.log_prob, old.log_prob)
    clipped = jnp.mean((jnp.abs(ratio - 1.0) > options.clip).astype(jnp.float32))
    entropy = jnp.mean(jnp.sum(old.entropy, axis=1))
    return new, PPOSteps(baseline, entropy, clipped)


def ratios(level: str, log_prob: Array, old_log_prob: Array) -> Array:
    """Probabilities over old ones: f32[S, T] by decision, f32[S, 1] by sequence."""
    difference = log_prob - old_log_prob
    if level == "sequence":
        difference = jnp.sum(difference, axis=1, keepdims=True)
    return jnp.exp(difference)


def ppo_objective(
    policy: Policy, options: PPOOptions, params: PyTree, batch: PPOBatch
) -> Array:
    """Mean clipped surrogate plus the weighted mean entropy of a decision, f32[].

    Args:
      policy, params: what is trained.
      options: numbers of PPO.
      batch: samples of the old parameters.
    """
    scores = jax.vmap(policy.score, in_axes=(None, 0))(params, batch.choices)
    ratio = ratios(options.level, scores.log_prob, batch.old_log_prob)
    advantage = batch.advantage[:, None]
    clipped = jnp.clip(ratio, 1.0 - options.clip, 1.0 + options.clip)
    surrogate = jnp.minimum(ratio * advantage, clipped * advantage)
    return jnp.mean(surrogate) + options.entropy_weight * jnp.mean(scores.entropy)
