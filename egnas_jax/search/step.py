"""Computes the steps of a search: weight steps, updates of the method, validation.

Every function is pure and takes the same record of what a search is made of
(`SearchProblem`), the data, and the hyperparameters. All that differs between two
searches of one problem is in arrays, so `jax.vmap` over states and hyperparameters runs
several searches side by side. Nothing here is compiled; `search.programs` does that.

Dims: N images, B images of a batch, S steps of an epoch, M directions, D = flat length
of alpha.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from egnas_jax.data.augment import augment, normalise
from egnas_jax.data.batches import draw_batch, epoch_permutation, num_steps
from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.nn.drop_path import EdgeDropout
from egnas_jax.nn.skip_dropout import SkipDropout
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.curvature import (
    alpha_loss,
    hessian_products,
    twice_differentiable,
)
from egnas_jax.search.evaluate import score_population
from egnas_jax.search.gradients import batch_gradients, softmax_gradient
from egnas_jax.search.relax import flatten
from egnas_jax.search.strategy import EpochSchedule, Strategy, Trainee
from egnas_jax.search.watch import WatchConfig
from egnas_jax.space import SPACES
from egnas_jax.training.sgd import (
    SGD,
    clip,
    make_optimizer,
    momentum_of,
    packing,
    stream,
)
from egnas_jax.types import Array, Batch, Evaluation, Key, Mixing, PyTree


class SearchProblem(NamedTuple):
    """The static parts of a search; JAX traces none of them.

    Attributes:
      net: the supernet.
      strategy: the search method.
      schedule: what happens in an epoch.
      augmentation: how training images are cropped, flipped and coloured.
      sgd: how the weights are trained.
      valid_batch_size: validation images of an update of the method.
      validation_chunk: validation images at a time; None chooses by backend.
      watch: the watch for a collapse; its number of images has a shape.
      one_vector: whether SGD computes with one vector of all weights, see
        `training.sgd.packing`.
      stage: of the search, from 0; each stage draws other initial weights.
    """

    net: Supernet
    strategy: Strategy
    schedule: EpochSchedule
    augmentation: DataConfig
    sgd: SGD
    valid_batch_size: int
    validation_chunk: int | None = None
    watch: WatchConfig = WatchConfig()
    one_vector: bool = False
    stage: int = 0


@flax.struct.dataclass
class SearchData:
    """The images of a search on the device; several searches share them.

    Attributes:
      train, valid: images u8[N, H, W, C] and labels i32[N] of either half.
      scale: mean and standard deviation of the channels, f32[2, C].
    """

    train: LabelledImages
    valid: LabelledImages
    scale: Array


@flax.struct.dataclass
class SearchHyperparams:
    """The numbers of one search that affect no shape.

    Attributes:
      seed: of all random streams, u32[], or the key that it stands for.
      learning_rate: of the running epoch, f32[].
      strategy: as `Strategy.hyperparams` has them.
      epochs: of the whole search, or of its stage, i32[].
      first_epoch: of the stage, i32[].
    """

    seed: Array
    learning_rate: Array
    strategy: PyTree
    epochs: Array = np.int32(1)
    first_epoch: Array = np.int32(0)


@flax.struct.dataclass
class Totals:
    """Sums over the steps of the running epoch.

    Attributes:
      loss: of the images' cross entropies, f32[].
      correct: correctly classified images, i32[].
      images: i32[].
    """

    loss: Array
    correct: Array
    images: Array


@flax.struct.dataclass
class SearchState:
    """All that a search carries; what a checkpoint holds.

    Attributes:
      params, batch_stats: of the supernet.
      optimizer: state of `make_optimizer`.
      alpha_gradient: accumulated where `alpha_in_clip` is set, cell kind -> [E, K];
        else {}.
      strategy: the method's own state.
      totals: of the running epoch.
      epoch, step: the next to run, i32[].
    """

    params: PyTree
    batch_stats: PyTree
    optimizer: PyTree
    alpha_gradient: PyTree
    strategy: PyTree
    totals: Totals
    epoch: Array
    step: Array

    @property
    def variables(self) -> PyTree:
        return {"params": self.params, "batch_stats": self.batch_stats}


def zero_totals() -> Totals:
    """Makes the sums before the first step of an epoch."""
    return Totals(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def init_state(
    problem: SearchProblem,
    image_shape: tuple[int, int, int],
    hyperparams: SearchHyperparams,
) -> SearchState:
    """Makes the state before the first epoch, every leaf a buffer of its own.

    That of a later stage begins with the first epoch of the stage.

    Args:
      problem: what is searched.
      image_shape: (H, W, C).
      hyperparams: seed, learning rate and the strategy's scalars.
    """
    seed, strategy = hyperparams.seed, problem.strategy
    stage = problem.stage or ""  # the first has the streams of a search without stages
    variables = problem.net.init(stream(seed, f"weights{stage}"), image_shape)
    key = stream(seed, f"strategy{stage}")
    strategy_state = strategy.init(key, hyperparams.strategy)
    mixing = strategy.incumbent(strategy_state)
    gradient = jax.tree.map(jnp.zeros_like, mixing.primitives)
    state = SearchState(
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        optimizer=_no_momentum(problem, variables["params"]),
        alpha_gradient=gradient if problem.schedule.alpha_in_clip else {},
        strategy=strategy_state,
        totals=zero_totals(),
        epoch=jnp.asarray(hyperparams.first_epoch, jnp.int32),
        step=jnp.zeros((), jnp.int32),
    )
    return jax.tree.map(jnp.copy, state)  # the training donates each buffer


def _no_momentum(problem: SearchProblem, params: PyTree) -> PyTree:
    """The state of SGD before its first step, made without packing the weights."""

    def init(params):
        pack, _ = packing(params, problem.one_vector)
        return make_optimizer(problem.sgd, 0.0).init(pack(params))

    return optax.tree_utils.tree_zeros_like(jax.eval_shape(init, params))


def steps_of_epoch(problem: SearchProblem, num_train: int) -> int:
    """Returns S, 0 for a method that trains no weights.

    The short last batch counts where it is kept.
    """
    if not problem.strategy.trains_weights:
        return 0
    keep = problem.schedule.last_batch == "keep"
    return num_steps(num_train, problem.sgd.batch_size, keep)


def train_steps(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
    span: tuple[Array, Array],
) -> tuple[SearchState, Totals]:
    """Runs the weight steps of an epoch from `span[0]` to `span[1]` (excluded).

    The range is an argument, so one program serves every range.

    Returns:
      The new state, and a copy of its totals, which stays valid after the state is
      donated to the next call.
    """
    start, stop = span
    num_images, size = len(data.train.labels), problem.sgd.batch_size
    steps, full = steps_of_epoch(problem, num_images), num_images // size
    if not steps:
        return state, jax.tree.map(jnp.copy, state.totals)
    key = stream(hyperparams.seed, "order")
    order = epoch_permutation(key, num_images, state.epoch)
    batches = order[: full * size].reshape(full, size)

    def body(i, state):
        return weight_step(problem, data, hyperparams, state, batches[i])

    state = lax.fori_loop(start, jnp.minimum(stop, full), body, state)
    if steps > full:  # a batch of its own size, so a second copy of the step
        rest = order[full * size :]
        state = lax.cond(
            stop == steps,
            lambda state: weight_step(problem, data, hyperparams, state, rest),
            lambda state: state,
            state,
        )
    return state, jax.tree.map(jnp.copy, state.totals)


def weight_step(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
    chosen: Array,
) -> SearchState:
    """Takes one step of SGD on the weights, under the mixing that the method asks for.

    A method whose `update_every` is "step" is updated first.

    Args:
      problem: what is searched.
      data: its images.
      hyperparams: seed, learning rate and the strategy's scalars.
      state: before the step.
      chosen: indices of the training images, i32[B].
    """
    chex.assert_rank([chosen, hyperparams.learning_rate, hyperparams.seed], [1, 0, 0])

    def key(name: str) -> Key:
        epoch_key = jax.random.fold_in(stream(hyperparams.seed, name), state.epoch)
        return jax.random.fold_in(epoch_key, state.step)

    images = augment(
        key("augment"), data.train.images[chosen], problem.augmentation, *data.scale
    )
    batch = Batch(images, data.train.labels[chosen])
    strategy = problem.strategy
    if strategy.update_every == "step":
        new, _ = _update(problem, data, hyperparams, state, key, train_batch=batch)
        state = state.replace(strategy=new)
    mixing = strategy.mixing(key("mixing"), state.strategy)
    state, gradient = sgd_step(
        problem,
        hyperparams.learning_rate,
        state,
        mixing,
        batch,
        dropout=_dropout(strategy, state, key),
        key=key("primitives") if problem.net.draws else None,
    )
    if strategy.learn is None:
        return state
    learned = strategy.learn(
        state.strategy,
        hyperparams.strategy,
        mixing=mixing,
        gradient=gradient,
        train_batch=batch,
    )
    return state.replace(strategy=learned)


def _dropout(
    strategy: Strategy, state: SearchState, key: Callable[[str], Key]
) -> EdgeDropout | SkipDropout | None:
    """What a weight step drops; `key` maps the name of a purpose to its key."""
    if strategy.skip_dropout is not None:
        rate = strategy.skip_dropout(state.strategy)
        return SkipDropout(key("skip dropout"), rate)
    if strategy.drop_path > 0:
        return EdgeDropout(key("drop path"), strategy.drop_path)
    return None


def sgd_step(
    problem: SearchProblem,
    learning_rate: Array,
    state: SearchState,
    mixing: Mixing,
    batch: Batch,
    *,
    dropout: EdgeDropout | SkipDropout | None = None,
    key: Key | None = None,
) -> tuple[SearchState, Mixing | None]:
    """Updates the weights, and the running sums of the epoch, on one batch.

    Returns:
      The new state, and the gradient of the loss with respect to the mixing, for a
      method that learns from it; else None.
    """
    chex.assert_rank([batch.images, batch.labels, learning_rate], [4, 1, 0])
    chex.assert_equal_shape_prefix([batch.images, batch.labels], 1)
    learns = problem.strategy.learn is not None
    sources = {"params": state.params}
    if learns or problem.schedule.alpha_in_clip:
        sources["primitives"] = mixing.primitives
    if learns:
        sources["edges"] = mixing.edges

    def network(sources, batch_stats, mixing):
        fields = {"primitives": mixing.primitives, "edges": mixing.edges, **sources}
        params = fields.pop("params")
        return {"params": params, "batch_stats": batch_stats}, Mixing(**fields)

    shared = state.batch_stats, mixing
    gradients, batch_stats = batch_gradients(
        problem.net, network, sources, batch, *shared, dropout=dropout, key=key
    )
    pack, unpack = packing(state.params, problem.one_vector)
    sources = gradients.sources | {"params": pack(gradients.sources["params"])}
    gradient, accumulated = _clipped(problem, state, mixing, sources)
    updates, optimizer_state = make_optimizer(problem.sgd, learning_rate).update(
        gradient, state.optimizer, pack(state.params)
    )
    size = len(batch.labels)
    totals = Totals(
        loss=state.totals.loss + gradients.loss * size,
        correct=state.totals.correct + gradients.correct,
        images=state.totals.images + size,
    )
    state = state.replace(
        params=optax.apply_updates(state.params, unpack(updates)),
        batch_stats=batch_stats,
        optimizer=optimizer_state,
        alpha_gradient=accumulated,
        totals=totals,
        step=state.step + 1,
    )
    parts = gradients.sources
    return state, Mixing(parts["primitives"], parts["edges"]) if learns else None


def _clipped(problem, state, mixing, gradients) -> tuple[PyTree, PyTree]:
    """The weights' gradient and alpha's accumulated one, scaled by their joint norm.

    Alpha's gradient is accumulated, and counts, where `alpha_in_clip` is set.
    """
    accumulated = state.alpha_gradient
    if problem.schedule.alpha_in_clip:
        accumulated = jax.tree.map(
            lambda a, p, g: a + softmax_gradient(p, g),
            accumulated,
            mixing.primitives,
            gradients["primitives"],
        )
    return clip((gradients["params"], accumulated), problem.sgd.clip_norm)


def evolve(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
) -> tuple[SearchState, dict[str, Array]]:
    """Updates a method that updates once an epoch; returns its metrics too."""

    def key(name: str) -> Key:
        return jax.random.fold_in(stream(hyperparams.seed, name), state.epoch)

    new, info = _update(problem, data, hyperparams, state, key)
    return state.replace(strategy=new), info


def _update(problem, data, hyperparams, state, key, *, train_batch=None):
    """The method's new state and its metrics.

    Args:
      problem, data, hyperparams, state: as of `weight_step`.
      key: name of a purpose -> its key.
      train_batch: of the next weight step; None: the validation batch.
    """
    strategy = problem.strategy
    if strategy.permutes_valid:
        valid_batch = next_valid_batch(problem, data, hyperparams, state, key("valid"))
    else:
        valid_batch = draw_valid_batch(problem, data, key("valid"))
    own_batches = {"draw_batch": functools.partial(draw_valid_batch, problem, data)}
    return strategy.update(
        key("update"),
        state.strategy,
        hyperparams.strategy,
        trainee_of(problem, state, hyperparams),
        train_batch=valid_batch if train_batch is None else train_batch,
        valid_batch=valid_batch,
        **(own_batches if strategy.draws_batches else {}),
    )


def validate(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
) -> Evaluation:
    """Evaluates the incumbent on all validation images, with running statistics."""
    mixing = problem.strategy.incumbent(state.strategy)
    key = jax.random.fold_in(stream(hyperparams.seed, "validate"), state.epoch)
    scores = score_population(
        problem.net,
        state.variables,
        jax.tree.map(lambda leaf: leaf[None], mixing),
        _valid_images(problem, data, key, data.valid.images),
        data.valid.labels,
        population_chunk=None,
        image_chunk=problem.validation_chunk,
        batch_stats="running",
    )
    return jax.tree.map(lambda leaf: leaf[0], scores)


def curvature(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
    directions: Array,
) -> Array:
    """Multiplies the Hessian of the validation loss in alpha with directions, [M, D].

    The images are the same in every epoch, so that the epochs differ by alpha and the
    weights alone.
    """
    chex.assert_rank(directions, 2)
    key = stream(hyperparams.seed, "watch")
    chosen = draw_batch(key, len(data.valid.labels), problem.watch.images)
    images = normalise(data.valid.images[chosen], *data.scale)
    batch = Batch(images, data.valid.labels[chosen])
    net = twice_differentiable(problem.net)
    loss = alpha_loss(net, problem.strategy, state.variables, batch, state.strategy)
    alpha = flatten(SPACES[net.config.space], state.strategy.alpha)
    return hessian_products(loss, alpha, directions)


def trainee_of(
    problem: SearchProblem, state: SearchState, hyperparams: SearchHyperparams
) -> Trainee:
    """Returns the weights of a state, as a method's update sees them."""
    _, unpack = packing(state.params, problem.one_vector)
    return Trainee(
        variables=state.variables,
        momentum=unpack(momentum_of(state.optimizer)),
        learning_rate=hyperparams.learning_rate,
        epoch=state.epoch - hyperparams.first_epoch,
        epochs=hyperparams.epochs,
        momentum_rate=problem.sgd.momentum,
        weight_decay=problem.sgd.weight_decay,
        nesterov=problem.sgd.nesterov,
    )


def draw_valid_batch(problem: SearchProblem, data: SearchData, key: Key) -> Batch:
    """Draws the validation images of one update, without replacement."""
    key_draw, key_augment = jax.random.split(key)
    chosen = draw_batch(key_draw, len(data.valid.labels), problem.valid_batch_size)
    return _valid_batch(problem, data, key_augment, chosen)


def next_valid_batch(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
    key: Key,
) -> Batch:
    """Takes the validation images of one update from a permutation of all.

    No image comes twice in an epoch, before the full batches of the permutation are
    used up; then the next permutation follows.

    Args:
      problem, data, hyperparams: of the search.
      state: has the epoch and the step.
      key: of the augmentation.
    """
    count, size = len(data.valid.labels), problem.valid_batch_size
    rounds, position = jnp.divmod(state.step, count // size)
    key_order = jax.random.fold_in(stream(hyperparams.seed, "valid order"), rounds)
    order = epoch_permutation(key_order, count, state.epoch)
    chosen = lax.dynamic_slice(order, (position * size,), (size,))
    return _valid_batch(problem, data, key, chosen)


def _valid_batch(problem, data, key, chosen) -> Batch:
    images = _valid_images(problem, data, key, data.valid.images[chosen])
    return Batch(images, data.valid.labels[chosen])


def _valid_images(problem, data, key, images):
    if problem.schedule.augment_valid:
        return augment(key, images, problem.augmentation, *data.scale)
    return normalise(images, *data.scale)
