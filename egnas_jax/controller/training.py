"""Holds what all policy gradients share: the state of training, and Adam's step."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax

from egnas_jax.controller.policy import Policy
from egnas_jax.types import Array, Key, PyTree


@flax.struct.dataclass
class PolicyState:
    """A policy as it is being trained.

    Attributes:
      params: of the policy.
      adam: moments of Adam and the number of steps.
      baseline: moving average of rewards, f32[]; 0 before the first.
      rewards_seen: how often the baseline has moved, i32[].
    """

    params: PyTree
    adam: optax.ScaleByAdamState
    baseline: Array
    rewards_seen: Array


@flax.struct.dataclass
class AdamOptions:
    """Numbers of Adam.

    Attributes:
      learning_rate, beta1, beta2, eps: Adam's own.
      tensorflow_eps: whether eps is added before the second moment's correction, as in
        TensorFlow: early steps are then smaller where gradients are near eps.
    """

    learning_rate: Array | float
    beta1: Array | float = 0.9
    beta2: Array | float = 0.999
    eps: Array | float = 1e-8
    tensorflow_eps: bool = flax.struct.field(pytree_node=False, default=False)


def init_policy(key: Key, policy: Policy) -> PolicyState:
    """The state before the first update."""
    params = policy.init(key)
    return PolicyState(
        params=params,
        adam=optax.scale_by_adam().init(params),
        baseline=jnp.float32(0.0),
        rewards_seen=jnp.int32(0),
    )


def descend(
    state: PolicyState, loss_fn: Callable[[PyTree], Array], options: AdamOptions
) -> PolicyState:
    """One step of Adam down the gradient of a loss of the parameters."""
    gradient = jax.grad(loss_fn)(state.params)
    eps = options.eps
    if options.tensorflow_eps:
        steps = (state.adam.count + 1).astype(jnp.float32)
        eps = eps / jnp.sqrt(1.0 - options.beta2**steps)
    transform = optax.scale_by_adam(options.beta1, options.beta2, eps)
    # optax's Adam mixes its step counter with floats
    with jax.numpy_dtype_promotion("standard"):
        direction, adam = transform.update(gradient, state.adam)
    params = jax.tree.map(
        lambda weight, step: weight - options.learning_rate * step,
        state.params,
        direction,
    )
    return state.replace(params=params, adam=adam)
