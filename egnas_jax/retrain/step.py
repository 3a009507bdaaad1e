"""Trains the weights: the state of a retraining, one weight step, many in one call.

Source: train.py of the DARTS family.

Dims: B images of a batch, S steps of a call, K classes, H, W height and width in
pixels, C channels.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax

from egnas_jax.data.augment import augment
from egnas_jax.nn import lowering
from egnas_jax.nn.network import Network
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.input_pipeline import InputPipeline
from egnas_jax.retrain.predict import make_logits
from egnas_jax.training.random_streams import stream
from egnas_jax.training.sgd import clip, make_optimizer
from egnas_jax.types import Array, Batch, Key, PyTree


class RetrainProblem(NamedTuple):
    """What a retraining is made of; static under `jax.jit`.

    Attributes:
      net: the network.
      config: of the retraining.
      image_shape: [H, W, C].
      scale: mean and standard deviation of the channels, of pixels in [0, 1].
      pipeline: the training batches.
    """

    net: Network
    config: RetrainConfig
    image_shape: tuple[int, int, int]
    scale: tuple[tuple[float, ...], tuple[float, ...]]
    pipeline: InputPipeline


@flax.struct.dataclass
class RetrainState:
    """What a retraining carries from step to step, and what a checkpoint holds.

    Attributes:
      params, batch_stats: of the network.
      optimizer: state of SGD.
      losses: sum of the steps' mean losses in each epoch, f32[epochs]; the auxiliary
        head's losses are not included.
      correct: number of correctly classified training images in each epoch,
        i32[epochs].
      step: the next step, counted over all epochs, i32[].
    """

    params: PyTree
    batch_stats: PyTree
    optimizer: PyTree
    losses: Array
    correct: Array
    step: Array

    @property
    def variables(self) -> PyTree:
        """Weights and batch_stats as the network takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@flax.struct.dataclass
class RetrainHyperparams:
    """The numbers of a retraining that affect no shape and are the same in all steps.

    They are constants of the program of one retraining, and arguments of that of
    several (`retrain.members`).

    Attributes:
      momentum, weight_decay, clip_norm: of SGD, f32[].
      auxiliary_weight: weight of the auxiliary head's loss, f32[].
    """

    momentum: Array | float
    weight_decay: Array | float
    clip_norm: Array | float
    auxiliary_weight: Array | float


def hyperparams_of(config: RetrainConfig) -> RetrainHyperparams:
    """Returns the numbers of a configuration."""
    return RetrainHyperparams(
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        auxiliary_weight=config.auxiliary_weight,
    )


@flax.struct.dataclass
class StepInputs:
    """The numbers of one step that vary without a new compilation.

    Attributes:
      epoch: of the step, i32[].
      learning_rate, drop_path: of the epoch, f32[].
      seed: of the run, i32[]. It is an argument so that all seeds share a program.
      hyperparams: of the run.
    """

    epoch: Array | int
    learning_rate: Array | float
    drop_path: Array | float
    seed: Array | int
    hyperparams: RetrainHyperparams


class RetrainPrograms(NamedTuple):
    """The compiled functions of one retraining.

    Attributes:
      init: () -> RetrainState.
      train: (state, loaded images, *, count, learning_rates, drop_paths) -> state, as
        `train_steps`; the state that is passed in is donated.
      logits: (variables, images u8[B, H, W, C]) -> f32[B, K], with running statistics.
    """

    init: Callable[[], RetrainState]
    train: Callable[..., RetrainState]
    logits: Callable[[PyTree, Array], Array]


def make_programs(problem: RetrainProblem) -> RetrainPrograms:
    """The functions of a retraining; each is compiled at its first call."""
    net, config = problem.net, problem.config
    train = jax.jit(
        functools.partial(train_steps, problem),
        donate_argnums=0,
        compiler_options=lowering.compiler_options(problem.image_shape[:2]),
    )
    return RetrainPrograms(
        init=functools.partial(initial_state, net, config, problem.image_shape),
        train=functools.partial(train, seed=jnp.int32(config.seed)),
        logits=make_logits(net, problem.scale, problem.image_shape),
    )


def initial_state(
    net: Network, config: RetrainConfig, image_shape: tuple[int, int, int]
) -> RetrainState:
    """The state before the first step, with weights drawn by the run's seed."""
    variables = net.init(stream(config.seed, "weights"), image_shape)
    state = RetrainState(
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        optimizer=make_optimizer(config.sgd, 0.0).init(variables["params"]),
        losses=jnp.zeros((config.epochs,)),
        correct=jnp.zeros((config.epochs,), jnp.int32),
        step=jnp.zeros((), jnp.int32),
    )
    # the state is donated later: no two leaves may share a buffer
    return jax.tree.map(jnp.copy, state)


def train_steps(
    problem: RetrainProblem,
    state: RetrainState,
    loaded: PyTree,
    *,
    count: Array,
    learning_rates: Array,
    drop_paths: Array,
    seed: Array,
    hyperparams: RetrainHyperparams | None = None,
) -> RetrainState:
    """The weight steps of one call, on augmented images.

    Args:
      problem: the retraining; static.
      state: before the first of the steps.
      loaded: the images, from `pipeline.load`.
      count: number of steps, i32[], at most S.
      learning_rates, drop_paths: of each step, f32[S].
      seed: of the run, i32[].
      hyperparams: of the run; None: those of its configuration, as constants.
    """
    chex.assert_rank([learning_rates, drop_paths], 1)
    chex.assert_equal_shape([learning_rates, drop_paths])
    config, pipeline = problem.config, problem.pipeline
    hyperparams = hyperparams or hyperparams_of(config)

    def step(place, state):
        pixels = pipeline.batch(loaded, place)
        key = jax.random.fold_in(stream(seed, "augment"), state.step)
        images = augment(key, pixels.images, config.data, *problem.scale)
        inputs = StepInputs(
            epoch=state.step // pipeline.num_steps,
            learning_rate=learning_rates[place],
            drop_path=drop_paths[place],
            seed=seed,
            hyperparams=hyperparams,
        )
        batch = Batch(images=images, labels=pixels.labels)
        return weight_step(problem.net, config, state, batch, inputs)

    return lax.fori_loop(0, count, step, state)


def weight_step(
    net: Network,
    config: RetrainConfig,
    state: RetrainState,
    batch: Batch,
    inputs: StepInputs,
) -> RetrainState:
    """One update of the weights.

    Args:
      net, config: the network and its training; static.
      state: before the step.
      batch: augmented images f32[B, H, W, C] and labels i32[B].
      inputs: the numbers of the step.
    """
    chex.assert_rank([batch.images, batch.labels], [4, 1])
    chex.assert_equal_shape_prefix([batch.images, batch.labels], 1)
    gradients, batch_stats, loss, correct = mean_gradients(
        net, config, state, batch, inputs
    )
    hyperparams = inputs.hyperparams
    gradients = clip(gradients, hyperparams.clip_norm)
    sgd = config.sgd._replace(
        momentum=hyperparams.momentum, weight_decay=hyperparams.weight_decay
    )
    updates, optimizer = make_optimizer(sgd, inputs.learning_rate).update(
        gradients, state.optimizer, state.params
    )
    return RetrainState(
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        optimizer=optimizer,
        losses=state.losses.at[inputs.epoch].add(loss),
        correct=state.correct.at[inputs.epoch].add(correct),
        step=state.step + 1,
    )


def mean_gradients(
    net: Network,
    config: RetrainConfig,
    state: RetrainState,
    batch: Batch,
    inputs: StepInputs,
) -> tuple[PyTree, PyTree, Array, Array]:
    """Gradients of a batch that is processed in `config.accumulate` parts.

    Args:
      net, config, state, batch, inputs: see `weight_step`.

    Returns:
      The mean gradients of the parts, the new batch_stats, the mean cross entropy f32[]
      and the number of correct answers i32[].
    """
    num_parts = config.accumulate
    key = jax.random.fold_in(stream(inputs.seed, "drop path"), state.step)
    loss_and_gradients = jax.value_and_grad(training_loss, has_aux=True)

    def add_part(totals, part):
        batch_stats, *sums = totals
        index, part_batch = part
        (_, (batch_stats, *metrics)), gradients = loss_and_gradients(
            state.params,
            net,
            config,
            batch_stats,
            part_batch,
            key=jax.random.fold_in(key, index),
            drop_path=inputs.drop_path,
            auxiliary_weight=inputs.hyperparams.auxiliary_weight,
        )
        return (batch_stats, *jax.tree.map(jnp.add, sums, [gradients, *metrics])), None

    parts = jax.tree.map(lambda x: x.reshape(num_parts, -1, *x.shape[1:]), batch)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    start = state.batch_stats, zeros, jnp.zeros(()), jnp.zeros((), jnp.int32)
    (batch_stats, gradients, loss, correct), _ = lax.scan(
        add_part, start, (jnp.arange(num_parts), parts)
    )
    gradients = jax.tree.map(lambda leaf: leaf / num_parts, gradients)
    return gradients, batch_stats, loss / num_parts, correct


def training_loss(
    params: PyTree,
    net: Network,
    config: RetrainConfig,
    batch_stats: PyTree,
    batch: Batch,
    *,
    key: Key,
    drop_path: Array | float,
    auxiliary_weight: Array | float,
) -> tuple[Array, tuple[PyTree, Array, Array]]:
    """The loss that weights are trained on, with the auxiliary head's.

    Returns:
      The loss f32[], and (new batch_stats, mean cross entropy f32[] of the classifier
      alone, number of correct answers i32[]).
    """
    logits, auxiliary_logits, new_batch_stats = net.apply(
        {"params": params, "batch_stats": batch_stats},
        batch.images.astype(config.precision),
        train=True,
        key=key,
        # a static 0 removes the random draws from the program
        drop_path=drop_path if config.network.drop_path else 0.0,
    )
    cross_entropy = mean_cross_entropy(logits, batch.labels, config.label_smoothing)
    loss = cross_entropy
    if auxiliary_logits is not None:
        auxiliary = mean_cross_entropy(
            auxiliary_logits, batch.labels, config.label_smoothing
        )
        loss = cross_entropy + auxiliary_weight * auxiliary
    correct = jnp.sum(jnp.argmax(logits, -1) == batch.labels, dtype=jnp.int32)
    return loss, (new_batch_stats, cross_entropy, correct)


def mean_cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
    """Mean cross entropy of logits f32[B, K] and labels i32[B].

    Args:
      logits, labels: of a batch.
      smoothing: fraction of each label that is spread over all classes; static.
    """
    chex.assert_rank([logits, labels], [2, 1])
    if not smoothing:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses)
    smooth = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return jnp.mean(optax.softmax_cross_entropy(logits, smooth))
