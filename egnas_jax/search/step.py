"""Computes the steps of a search: weight steps, and updates of the method.

The functions are pure. `train_steps`, `weight_step` and `evolve` take what is searched
(`SearchProblem`), the data, the hyperparameters and the state. Nothing here is
compiled; `search.programs` does that.

Dims: B images of a batch.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import optax
from jax import lax

from egnas_jax.data.augment import augment
from egnas_jax.data.batches import epoch_permutation
from egnas_jax.nn.drop_path import EdgeDropout
from egnas_jax.nn.skip_dropout import SkipDropout
from egnas_jax.search.epoch import steps_of_epoch
from egnas_jax.search.gradients import batch_gradients, softmax_gradient
from egnas_jax.search.state import (
    SearchData,
    SearchHyperparams,
    SearchProblem,
    SearchState,
    Totals,
)
from egnas_jax.search.strategy import Strategy, Trainee
from egnas_jax.search.valid_batches import draw_valid_batch, next_valid_batch
from egnas_jax.training.random_streams import stream
from egnas_jax.training.sgd import clip, make_optimizer, momentum_of, packing
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree


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
      hyperparams: of the search, see `SearchHyperparams`.
      state: before the step.
      chosen: indices of the training images, i32[B].
    """
    chex.assert_rank([chosen, hyperparams.learning_rate, hyperparams.seed], [1, 0, 0])

    def key_for(name: str) -> Key:
        epoch_key = jax.random.fold_in(stream(hyperparams.seed, name), state.epoch)
        return jax.random.fold_in(epoch_key, state.step)

    images = augment(
        key_for("augment"), data.train.images[chosen], problem.augmentation, *data.scale
    )
    batch = Batch(images, data.train.labels[chosen])
    strategy = problem.strategy
    if strategy.update_every == "step":
        new, _ = _update(problem, data, hyperparams, state, key_for, train_batch=batch)
        state = state.replace(strategy=new)
    mixing = strategy.mixing(key_for("mixing"), state.strategy)
    state, gradient = sgd_step(
        problem,
        hyperparams.learning_rate,
        state,
        mixing,
        batch,
        dropout=_dropout(strategy, state, key_for),
        key=key_for("primitives") if problem.net.draws else None,
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
    strategy: Strategy, state: SearchState, key_for: Callable[[str], Key]
) -> EdgeDropout | SkipDropout | None:
    """What a weight step drops; `key_for` maps the name of a purpose to its key."""
    if strategy.skip_dropout is not None:
        rate = strategy.skip_dropout(state.strategy)
        return SkipDropout(key_for("skip dropout"), rate)
    if strategy.drop_path > 0:
        return EdgeDropout(key_for("drop path"), strategy.drop_path)
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
    wrt = {"params": state.params}
    if learns or problem.schedule.alpha_in_clip:
        wrt["primitives"] = mixing.primitives
    if learns:
        wrt["edges"] = mixing.edges

    def network(wrt, batch_stats, mixing):
        fields = {"primitives": mixing.primitives, "edges": mixing.edges, **wrt}
        params = fields.pop("params")
        return {"params": params, "batch_stats": batch_stats}, Mixing(**fields)

    shared = state.batch_stats, mixing
    gradients, batch_stats = batch_gradients(
        problem.net, network, wrt, batch, *shared, dropout=dropout, key=key
    )
    pack, unpack = packing(state.params, problem.one_vector)
    parts = gradients.gradient
    packed = parts | {"params": pack(parts["params"])}
    gradient, accumulated = _clipped(problem, state, mixing, packed)
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

    def key_for(name: str) -> Key:
        return jax.random.fold_in(stream(hyperparams.seed, name), state.epoch)

    new, metrics = _update(problem, data, hyperparams, state, key_for)
    return state.replace(strategy=new), metrics


def _update(problem, data, hyperparams, state, key_for, *, train_batch=None):
    """The method's new state and its metrics.

    Args:
      problem, data, hyperparams, state: see `weight_step`.
      key_for: name of a purpose -> its key.
      train_batch: of the next weight step; None: the validation batch.
    """
    strategy = problem.strategy
    if strategy.permutes_valid:
        key = key_for("valid")
        valid_batch = next_valid_batch(problem, data, hyperparams, state, key)
    else:
        valid_batch = draw_valid_batch(problem, data, key_for("valid"))
    own_batches = {"draw_batch": functools.partial(draw_valid_batch, problem, data)}
    return strategy.update(
        key_for("update"),
        state.strategy,
        hyperparams.strategy,
        trainee_of(problem, state, hyperparams),
        train_batch=valid_batch if train_batch is None else train_batch,
        valid_batch=valid_batch,
        **(own_batches if strategy.draws_batches else {}),
    )


def trainee_of(
    problem: SearchProblem, state: SearchState, hyperparams: SearchHyperparams
) -> Trainee:
    """Returns the weights of a state, as a method's update reads them."""
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
