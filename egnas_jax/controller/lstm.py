"""Implements the LSTM of ENAS's controller and its two kinds of decisions.

Source: Pham et al., Efficient Neural Architecture Search via Parameter Sharing, ICML
2018, and its published code (micro search): one layer without bias, all weights uniform
in (-0.1, 0.1).

Dims: H hidden units, K primitives, A inputs and nodes that an input can be chosen from.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.types import Array, Key

START_RANGE = 0.1
FIXED_BIAS = 0.25


@dataclasses.dataclass(frozen=True)
class LSTMConfig:
    """Sizes of the controller and the shape of its distributions.

    Attributes:
      hidden: H.
      tanh_constant: logits of inputs lie within +- this number.
      primitive_reduction: logits of primitives lie within +- tanh_constant over this.
      conv_bias: where the learned bias of the separable convolutions starts. ENAS has
        10, where the tanh is flat: their logits then stay at their largest value, since
        no gradient reaches them. 0 lets the controller learn them.
      fixed_bias: whether the first kind of cell adds 0.25 to the logits of separable
        convolutions and takes 0.25 from the others', as ENAS does.
    """

    hidden: int = 64
    tanh_constant: float = 1.10
    primitive_reduction: float = 2.5
    conv_bias: float = 10.0
    fixed_bias: bool = True


@flax.struct.dataclass
class LSTMParams:
    """Weights of the controller.

    Attributes:
      lstm: from (input, hidden) to the gates input, forget, output, and the new value,
        f32[2H, 4H].
      start: input of the first step of every node, f32[H].
      embedding: of each primitive, f32[K, H].
      softmax, bias: of the logits of primitives, f32[H, K] and f32[K].
      attention_key, attention_query: f32[H, H].
      attention_v: f32[H].
    """

    lstm: Array
    start: Array
    embedding: Array
    softmax: Array
    bias: Array
    attention_key: Array
    attention_query: Array
    attention_v: Array


@flax.struct.dataclass
class LSTMState:
    """Cell and hidden values, f32[H] each."""

    cell: Array
    hidden: Array


def init_params(
    key: Key, config: LSTMConfig, num_primitives: int, convolutions: tuple[int, ...]
) -> LSTMParams:
    """Weights before the first update.

    Args:
      key: consumed.
      config: sizes.
      num_primitives: K.
      convolutions: indices of the separable convolutions, whose bias starts elsewhere.
    """
    size = config.hidden
    shapes = dict(
        lstm=(2 * size, 4 * size),
        start=(size,),
        embedding=(num_primitives, size),
        softmax=(size, num_primitives),
        attention_key=(size, size),
        attention_query=(size, size),
        attention_v=(size,),
    )
    keys = jax.random.split(key, len(shapes))
    weights = {
        name: jax.random.uniform(k, shape, minval=-START_RANGE, maxval=START_RANGE)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    bias = config.conv_bias * convolution_mask(num_primitives, convolutions)
    return LSTMParams(bias=bias, **weights)


def convolution_mask(num_primitives: int, convolutions: tuple[int, ...]) -> Array:
    """Ones at the separable convolutions, f32[K]."""
    chosen = [float(index in convolutions) for index in range(num_primitives)]
    return jnp.asarray(chosen, jnp.float32)


def zero_state(hidden: int) -> LSTMState:
    """The state before the first step."""
    return LSTMState(jnp.zeros(hidden), jnp.zeros(hidden))


def lstm_step(params: LSTMParams, state: LSTMState, x: Array) -> LSTMState:
    """One step on an input f32[H]."""
    gates = jnp.concatenate([x, state.hidden]) @ params.lstm
    enter, forget, leave, value = jnp.split(gates, 4)
    cell = jax.nn.sigmoid(enter) * jnp.tanh(value) + jax.nn.sigmoid(forget) * state.cell
    return LSTMState(cell, jax.nn.sigmoid(leave) * jnp.tanh(cell))


def input_logits(
    params: LSTMParams, config: LSTMConfig, hidden: Array, keys: Array
) -> Array:
    """Logits f32[A] of inputs with the given keys f32[A, H]."""
    query = hidden @ params.attention_query
    scores = jnp.tanh(keys + query[None, :]) @ params.attention_v
    return config.tanh_constant * jnp.tanh(scores)


def primitive_logits(params: LSTMParams, config: LSTMConfig, hidden: Array) -> Array:
    """Logits f32[K] of primitives, without the fixed bias."""
    scale = config.tanh_constant / config.primitive_reduction
    return scale * jnp.tanh(hidden @ params.softmax + params.bias)
