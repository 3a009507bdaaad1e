"""Implements ENAS's controller: a policy over cells with two inputs a node.

For each node the controller chooses two inputs among the cell's inputs and the nodes
before, then a primitive for each. A later kind of cell continues from the state of the
one before.

Source: Pham et al., ICML 2018, and its published code (micro search). Where
`distinct_inputs` holds, the second input differs from the first: cells of the DARTS
space have no node with two edges from one source.

Dims: G kinds of cells, M nodes of a cell, H hidden units, K primitives, A = inputs + M.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.controller.lstm import (
    FIXED_BIAS,
    LSTMConfig,
    LSTMParams,
    LSTMState,
    convolution_mask,
    init_params,
    input_logits,
    lstm_step,
    primitive_logits,
    zero_state,
)
from egnas_jax.controller.policy import Policy, Scores, decision_scores
from egnas_jax.types import Array, Key, PyTree

DECISIONS = 4  # of a node: input, input, primitive, primitive


class CellShape(NamedTuple):
    """What there is to choose.

    Attributes:
      num_kinds: G.
      num_nodes: M.
      num_primitives: K.
      num_inputs: inputs of a cell, 2 or more.
      convolutions: indices of the separable convolutions.
      distinct_inputs: whether the two inputs of a node differ.
      sources: the inputs that each node may have; None: all inputs of the cell and all
        nodes before it.
      counts: of each kind, node and input, how many primitives the edge has, the first
        ones of K; None: all.
    """

    num_kinds: int
    num_nodes: int
    num_primitives: int
    num_inputs: int = 2
    convolutions: tuple[int, ...] = ()
    distinct_inputs: bool = True
    sources: tuple[tuple[int, ...], ...] | None = None
    counts: tuple[tuple[tuple[int, ...], ...], ...] | None = None


class _Memory(NamedTuple):
    """What inputs look like: keys f32[A, H], and embeddings f32[A, H]."""

    keys: Array
    embeddings: Array


# (logits, what one decision is given) -> choice i32[]
PickFn = Callable[[Array, PyTree], Array]


def cell_policy(config: LSTMConfig, shape: CellShape) -> Policy:
    """The controller as a policy of T = G M 4 decisions.

    Choices are in the order of the decisions: for each kind and node the two inputs,
    then the primitive of each.

    Args:
      config: sizes of the LSTM.
      shape: what there is to choose.
    """
    decisions = shape.num_kinds, shape.num_nodes, DECISIONS

    def init(key: Key) -> LSTMParams:
        return init_params(key, config, shape.num_primitives, shape.convolutions)

    def sample(key: Key, params: LSTMParams) -> Array:
        keys = jax.random.split(key, decisions)
        choices, _ = _walk(params, config, shape, keys, pick=_draw)
        return choices.reshape(-1)

    def score(params: LSTMParams, choices: Array) -> Scores:
        given = choices.reshape(decisions)
        _, scores = _walk(params, config, shape, given, pick=lambda _, choice: choice)
        return jax.tree.map(jnp.ravel, scores)

    return Policy(init, sample, score)


def _draw(logits: Array, key: Key) -> Array:
    return jax.random.categorical(key, logits).astype(jnp.int32)


def _walk(
    params: LSTMParams,
    config: LSTMConfig,
    shape: CellShape,
    given: PyTree,
    *,
    pick: PickFn,
) -> tuple[Array, Scores]:
    """Takes all decisions; choices and scores [G, M, 4].

    Args:
      params, config, shape: of the controller.
      given: [G, M, 4], a key or a choice for each decision.
      pick: makes a choice of it.
    """
    mask = convolution_mask(shape.num_primitives, shape.convolutions)
    fixed = FIXED_BIAS * (2.0 * mask - 1.0) * float(config.fixed_bias)
    # Only the first kind of cell has the fixed bias.
    is_first = jnp.arange(shape.num_kinds) == 0
    biases = jnp.where(is_first[:, None], fixed[None, :], 0.0)

    limits = None if shape.counts is None else jnp.asarray(shape.counts, jnp.int32)

    def cell(state, xs):
        bias, given_cell, limits_of_cell = xs
        state, memory = _remember_inputs(params, shape, state)

        def node(carry, xs):
            return _node(params, config, shape, carry, (bias, *xs), pick=pick)

        xs = jnp.arange(shape.num_nodes), given_cell, limits_of_cell
        (state, _), results = lax.scan(node, (state, memory), xs)
        return state, results

    _, results = lax.scan(cell, zero_state(config.hidden), (biases, given, limits))
    return results


def _remember_inputs(
    params: LSTMParams, shape: CellShape, state: LSTMState
) -> tuple[LSTMState, _Memory]:
    """Steps on the start token that give the cell's inputs their keys.

    The embeddings of inputs are zeros.
    """
    size = len(params.start)
    memory = jnp.zeros((shape.num_inputs + shape.num_nodes, size))
    keys = memory
    for index in range(shape.num_inputs):
        state = lstm_step(params, state, params.start)
        keys = keys.at[index].set(state.hidden @ params.attention_key)
    return state, _Memory(keys, memory)


def _allowed_inputs(shape: CellShape, index: Array) -> Array:
    """Which states the node number `index` may read, bool[A]."""
    num_states = shape.num_inputs + shape.num_nodes
    if shape.sources is None:
        return jnp.arange(num_states) < shape.num_inputs + index
    allowed = np.zeros((shape.num_nodes, num_states), bool)
    for node, sources in enumerate(shape.sources):
        allowed[node, list(sources)] = True
    return jnp.asarray(allowed)[index]


def _node(
    params: LSTMParams,
    config: LSTMConfig,
    shape: CellShape,
    carry: tuple[LSTMState, _Memory],
    xs: tuple[Array, Array, PyTree, Array | None],
    *,
    pick: PickFn,
) -> tuple[tuple[LSTMState, _Memory], tuple[Array, Scores]]:
    """The four decisions of one node, and the step that makes it an input of others."""
    (state, memory), (bias, index, given, limits) = carry, xs
    position = shape.num_inputs + index
    allowed = _allowed_inputs(shape, index)
    x, choices, scores = params.start, [], []
    for decision in range(DECISIONS):
        state = lstm_step(params, state, x)
        is_input = decision < 2
        if is_input:
            logits = input_logits(params, config, state.hidden, memory.keys)
            logits = jnp.where(allowed, logits, -jnp.inf)
        else:
            logits = primitive_logits(params, config, state.hidden) + bias
            if limits is not None:  # of the edge from the input that was chosen
                exists = jnp.arange(len(logits)) < limits[choices[decision - 2]]
                logits = jnp.where(exists, logits, -jnp.inf)
        choice = pick(logits, given[decision])
        choices.append(choice)
        scores.append(decision_scores(logits, choice))
        x = (memory.embeddings if is_input else params.embedding)[choice]
        if decision == 0 and shape.distinct_inputs:
            allowed = allowed.at[choice].set(False)
    state = lstm_step(params, state, x)
    memory = _Memory(
        memory.keys.at[position].set(state.hidden @ params.attention_key),
        memory.embeddings.at[position].set(state.hidden),
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scores)
    return (state, memory), (jnp.stack(choices), stacked)
