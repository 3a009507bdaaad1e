"""Defines a policy: a distribution over sequences of choices, with parameters.

Dims: T decisions of a sequence, E edges, K primitives.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.types import Array, Key, PyTree

START_SCALE = 1e-3  # of the logits of a factorised policy, as in AutoDL's REINFORCE


@flax.struct.dataclass
class Scores:
    """How a policy sees a sequence of choices.

    Attributes:
      log_prob: of each choice, given the choices before it, f32[T].
      entropy: of the distribution of each decision, f32[T], in nats.
    """

    log_prob: Array
    entropy: Array


class Policy(NamedTuple):
    """A distribution over sequences.

    Attributes:
      init: (key) -> parameters.
      sample: (key, parameters) -> choices i32[T], in the order of the decisions.
      score: (parameters, choices i32[T]) -> Scores.
    """

    init: Callable[[Key], PyTree]
    sample: Callable[[Key, PyTree], Array]
    score: Callable[[PyTree, Array], Scores]


def factorised_policy(num_edges: int, num_primitives: int) -> Policy:
    """A softmax of its own for every edge: T = E decisions that do not interact.

    Source: REINFORCE on NAS-Bench-201 (Dong & Yang, ICLR 2020).

    Args:
      num_edges: E.
      num_primitives: K.
    """

    def init(key: Key) -> Array:
        return START_SCALE * jax.random.normal(key, (num_edges, num_primitives))

    def sample(key: Key, params: Array) -> Array:
        return jax.random.categorical(key, params, axis=-1)

    def score(params: Array, choices: Array) -> Scores:
        return jax.vmap(decision_scores)(params, choices)

    return Policy(init, sample, score)


def decision_scores(logits: Array, choice: Array) -> Scores:
    """Scores of one decision, f32[].

    Args:
      logits: f32[K]; -inf for what may not be chosen.
      choice: i32[].
    """
    log_probs = jax.nn.log_softmax(logits)
    # A choice that is excluded has probability 0 and adds nothing, but log 0 is -inf.
    finite = jnp.where(jnp.isfinite(logits), log_probs, 0.0)
    entropy = -jnp.sum(
        jnp.where(jnp.isfinite(logits), jnp.exp(log_probs) * finite, 0.0)
    )
    return Scores(log_probs[choice], entropy)
