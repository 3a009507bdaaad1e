"""Implements a controller over cells whose edges are fixed: a primitive for each edge.

The LSTM is that of ENAS; each step is fed the embedding of the choice before. There is
no choice of inputs, and all primitives are treated alike.

Source: Dong & Yang (ICLR 2020), whose ENAS on NAS-Bench-201 takes one decision an edge.

Dims: E edges, H hidden units, K primitives.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.controller.lstm import (
    LSTMConfig,
    LSTMParams,
    init_params,
    lstm_step,
    primitive_logits,
    zero_state,
)
from egnas_jax.controller.policy import Policy, Scores, decision_scores
from egnas_jax.types import Array, Key


def edge_policy(
    config: LSTMConfig,
    num_edges: int,
    num_primitives: int,
    counts: Sequence[int] | None = None,
) -> Policy:
    """The controller as a policy of T = E decisions.

    Args:
      config: sizes of the LSTM; its biases of convolutions are not used.
      num_edges: E.
      num_primitives: K.
      counts: how many primitives each edge has, the first ones of K; None: all.
    """
    limits = None if counts is None else jnp.asarray(counts, jnp.int32)

    def walk(params: LSTMParams, given, pick):
        def edge(carry, xs):
            (state, embedding), (x, limit) = carry, xs
            state = lstm_step(params, state, embedding)
            logits = primitive_logits(params, config, state.hidden)
            if limit is not None:
                logits = jnp.where(jnp.arange(len(logits)) < limit, logits, -jnp.inf)
            choice = pick(logits, x)
            scores = decision_scores(logits, choice)
            return (state, params.embedding[choice]), (choice, scores)

        start = zero_state(config.hidden), params.start
        return lax.scan(edge, start, (given, limits))[1]

    def init(key: Key) -> LSTMParams:
        return init_params(key, config, num_primitives, ())

    def sample(key: Key, params: LSTMParams) -> Array:
        keys = jax.random.split(key, num_edges)
        choices, _ = walk(params, keys, lambda z, k: jax.random.categorical(k, z))
        return choices.astype(jnp.int32)

    def score(params: LSTMParams, choices: Array) -> Scores:
        return walk(params, choices, lambda _, choice: choice)[1]

    return Policy(init, sample, score)
