"""The state of a retraining and its compiled programs: weight steps, and logits.

Source: train.py of the DARTS family.

Dims: N images, B images of a batch, A parts of a batch, S steps of a call.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from egnas_jax.data.augment import augment
from egnas_jax.nn import lowering
from egnas_jax.nn.network import Network
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.input_pipeline import Feed
from egnas_jax.retrain.predict import make_logits
from egnas_jax.training.sgd import make_optimizer, stream
from egnas_jax.types import Array, Key, PyTree


class RetrainState(NamedTuple):
    """All that a retraining carries; what a checkpoint holds.

    Attributes:
      params, batch_stats: of the network.
      optimizer: state of SGD.
      losses: the steps' mean losses, added up by epochs, f32[epochs]. The auxiliary
        head's are not in them.
      correct: correctly classified training images of each epoch, i32[epochs].
      step: the next to run, counted over all epochs, i32[].
    """

    params: PyTree
    batch_stats: PyTree
    optimizer: PyTree
    losses: Array
    correct: Array
    step: Array

    @property
    def variables(self) -> PyTree:
        return {"params": self.params, "batch_stats": self.batch_stats}


class Programs(NamedTuple):
    """The compiled functions of one retraining.

    Attributes:
      init: () -> RetrainState.
      train: (state, chunk, number of steps, learning rates f32[S], drop path
        probabilities f32[S]) -> state, which is donated.
      logits: (variables, images u8[B, H, W, C]) -> f32[B, classes], with running
        statistics.
    """

    init: Callable
    train: Callable
    logits: Callable


def make_programs(
    net: Network,
    config: RetrainConfig,
    feed: Feed,
    image_shape: tuple[int, int, int],
    scale: tuple[tuple, tuple],
) -> Programs:
    """Everything one retraining compiles.

    Args:
      net, config, feed: what is trained, how, and on what.
      image_shape: [H, W, C].
      scale: mean and std of the channels.
    """

    def train(state, chunk, count, rates, drops, seed):
        def body(place, state):
            pixels = feed.batch(chunk, place)
            key = jax.random.fold_in(stream(seed, "augment"), state.step)
            images = augment(key, pixels.images, config.data, *scale)
            return weight_step(
                net,
                config,
                state,
                images,
                pixels.labels,
                rates[place],
                drops[place],
                state.step // feed.num_steps,
                seed,
            )

        return lax.fori_loop(0, count, body, state)

    # the seed is an argument, so that the seeds of a table share a compiled program
    compiled = jax.jit(
        train, donate_argnums=0, compiler_options=lowering.compiler_options()
    )
    return Programs(
        functools.partial(initial_state, net, config, image_shape),
        functools.partial(compiled, seed=jnp.int32(config.seed)),
        make_logits(net, scale),
    )


def initial_state(
    net: Network, config: RetrainConfig, image_shape: tuple[int, int, int]
) -> RetrainState:
    """The state before the first step, its weights drawn by the run's seed."""
    variables = net.init(stream(config.seed, "weights"), image_shape)
    state = RetrainState(
        variables["params"],
        variables["batch_stats"],
        make_optimizer(config.sgd, 0.0).init(variables["params"]),
        jnp.zeros((config.epochs,)),
        jnp.zeros((config.epochs,), jnp.int32),
        jnp.zeros((), jnp.int32),
    )
    # donated later: no two leaves may share a buffer
    return jax.tree.map(jnp.copy, state)


def weight_step(
    net: Network,
    config: RetrainConfig,
    state: RetrainState,
    images: Array,
    labels: Array,
    rate: Array,
    drop: Array,
    epoch: Array,
    seed: Array | int,
) -> RetrainState:
    """One update of the weights; images f32[B, H, W, C], labels i32[B]."""
    key = jax.random.fold_in(stream(seed, "drop path"), state.step)
    parts = config.accumulate

    def part(carry, own):
        stats, *sums = carry
        index, images, labels = own
        loss = _loss(
            net, config, stats, images, labels, jax.random.fold_in(key, index), drop
        )
        (_, (stats, *found)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.params
        )
        return (stats, *jax.tree.map(jnp.add, sums, [gradient, *found])), None

    split = [x.reshape(parts, -1, *x.shape[1:]) for x in (images, labels)]
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    start = state.batch_stats, zeros, jnp.zeros(()), jnp.zeros((), jnp.int32)
    (stats, gradient, value, hits), _ = lax.scan(
        part, start, (jnp.arange(parts), *split)
    )
    gradient = jax.tree.map(lambda leaf: leaf / parts, gradient)
    clip = optax.clip_by_global_norm(config.clip_norm)
    gradient, _ = clip.update(gradient, clip.init(gradient))
    updates, moved = make_optimizer(config.sgd, rate).update(
        gradient, state.optimizer, state.params
    )
    return RetrainState(
        optax.apply_updates(state.params, updates),
        stats,
        moved,
        state.losses.at[epoch].add(value / parts),
        state.correct.at[epoch].add(hits),
        state.step + 1,
    )


def _loss(net, config, stats, images, labels, key: Key, drop):
    """Parameters -> the loss; with it statistics, cross entropy and correct answers."""
    # a static 0 leaves the draws out
    drop = drop if config.network.drop_path else 0.0

    def loss(params):
        logits, auxiliary, new = net.apply(
            {"params": params, "batch_stats": stats},
            images.astype(config.precision),
            train=True,
            key=key,
            drop_path=drop,
        )
        value = _cross_entropy(config, logits, labels)
        total = value
        if auxiliary is not None:
            head = _cross_entropy(config, auxiliary, labels)
            total = value + config.auxiliary_weight * head
        hits = jnp.sum(jnp.argmax(logits, -1) == labels, dtype=jnp.int32)
        return total, (new, value, hits)

    return loss


def _cross_entropy(config, logits, labels):
    if not config.label_smoothing:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses)
    smooth = optax.smooth_labels(
        jax.nn.one_hot(labels, logits.shape[-1]), config.label_smoothing
    )
    return jnp.mean(optax.softmax_cross_entropy(logits, smooth))
