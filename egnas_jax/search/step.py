"""The state of a search and its two compiled programs: weight steps and validation.

Several weight steps run in one call, over a range of steps that is an argument: one
program serves every range. Data stay on the device; augmentation is part of the step.

Source: SGD as torch does it, cosine per epoch.

Dims: N images, B images of a batch, S steps of an epoch.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh

from egnas_jax.data.augment import augment, normalise
from egnas_jax.data.batches import draw_batch, epoch_permutation, num_steps
from egnas_jax.data.config import DataConfig
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.curvature import hessian_products, twice_differentiable
from egnas_jax.search.evaluate import score_population
from egnas_jax.search.gradients import batch_gradients, softmax_gradient
from egnas_jax.search.strategy import Regime, Strategy
from egnas_jax.search.watch import WatchConfig
from egnas_jax.space import SPACES, Space
from egnas_jax.training.devices import everywhere
from egnas_jax.training.sgd import SGD, Pixels, make_optimizer, stream
from egnas_jax.types import Array, Batch, PyTree


class Totals(NamedTuple):
    """Sums over the steps of the running epoch."""

    loss: Array
    correct: Array
    images: Array


class SearchState(NamedTuple):
    """All that a search carries; what a checkpoint holds.

    Attributes:
      params, batch_stats: of the supernet.
      optimizer: state of `make_optimizer`.
      alpha_gradient: accumulated by `alpha_in_clip`, cell kind -> [E, K]; else {}.
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


class Programs(NamedTuple):
    """The compiled functions of one search.

    Attributes:
      init: () -> SearchState, on one device.
      train: (state, start, stop, learning_rate) -> state, totals. `state` is donated.
      validate: state -> Evaluation of the incumbent on all validation images.
      evolve: state -> state, info; the once-an-epoch update of a strategy.
      incumbent: state -> the mixing from which the genotype is derived.
      mesh: devices on which a state has to lie (`search.mesh.replicate`), or None.
      num_steps: S.
      image_shape: of the data, (H, W, C).
      num_valid: validation images.
      space: of the cells.
      curvature: (state, directions [M, D]) -> products of alpha's Hessian with them
        [M, D]; None unless it is watched.
    """

    init: Callable
    train: Callable
    validate: Callable
    evolve: Callable
    incumbent: Callable
    mesh: Mesh | None
    num_steps: int
    image_shape: tuple[int, int, int]
    num_valid: int
    space: Space
    curvature: Callable | None = None


def zero_totals() -> Totals:
    return Totals(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def make_programs(
    net: Supernet,
    strategy: Strategy,
    sgd: SGD,
    data: DataConfig,
    scale: tuple[tuple, tuple],
    train: Pixels,
    valid: Pixels,
    seed: int,
    *,
    validation_chunk: int | None = None,
    watch: WatchConfig = WatchConfig(),  # noqa: B008 (frozen)
) -> Programs:
    """Everything one search compiles.

    Args:
      net, strategy, sgd, data: what is searched, and how.
      scale: mean and std of the channels.
      train, valid: on the devices of the network.
      seed: of all streams.
      validation_chunk: validation images at a time, or None for the default.
      watch: whether curvature is watched, and on how many images.
    """
    options = lowering.compiler_options()
    shape = train.images.shape[1:]
    others = (
        np.asarray(scale, np.float32),
        np.uint32(seed),
        {name: np.float32(value) for name, value in strategy.numbers.items()},
    )

    def compiled(name, **how):
        # the data are arguments: those of several processes cannot be constants; the
        # others are so that all their values share a program
        def run(parts, scale, seed, numbers, *arguments):
            own = strategy.given(numbers) if numbers else strategy
            functions = _functions(
                net, own, sgd, data, scale, *parts, seed, validation_chunk, watch
            )
            return functions[name](*arguments)

        run.__name__ = name
        program = jax.jit(
            run,
            compiler_options=options,
            out_shardings=everywhere(net.mesh),
            **how,
        )
        return functools.partial(program, (train, valid), *others)

    return Programs(
        functools.partial(_init, net, strategy, sgd, shape, seed),
        compiled("train_steps", donate_argnums=4),
        compiled("validate"),
        compiled("evolve"),
        jax.jit(lambda state: strategy.incumbent(state.strategy)),
        net.mesh,
        _steps(sgd, strategy, train),
        shape,
        len(valid.labels),
        SPACES[net.config.space],
        compiled("curvature") if watch.eigenvalue != "off" else None,
    )


def _init(net, strategy, sgd, shape, seed) -> SearchState:
    """The first state, every leaf a buffer of its own: they are donated later."""
    variables = net.init(stream(seed, "weights"), shape)
    strategy_state = strategy.init(stream(seed, "strategy"))
    mixing = strategy.incumbent(strategy_state)
    gradient = jax.tree.map(jnp.zeros_like, mixing.primitives)
    state = SearchState(
        variables["params"],
        variables["batch_stats"],
        make_optimizer(sgd, 0.0).init(variables["params"]),
        gradient if strategy.regime.alpha_in_clip else {},
        strategy_state,
        zero_totals(),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
    )
    return jax.tree.map(jnp.copy, state)


def _steps(sgd, strategy, train) -> int:
    """S, the short last batch included where it is kept."""
    keep = strategy.regime.last_batch == "keep"
    return num_steps(len(train.labels), sgd.batch_size, keep)


def _functions(
    net, strategy, sgd, data, scale, train, valid, seed, validation_chunk, watch
) -> dict[str, Callable]:
    """What `Programs` compiles, by name; arguments as of `make_programs`."""
    num_images, size, regime = len(train.labels), sgd.batch_size, strategy.regime
    steps, full = _steps(sgd, strategy, train), num_images // size

    def valid_images(key, images):
        if regime.augment_valid:
            return augment(key, images, data, *scale)
        return normalise(images, *scale)

    def valid_batch(key) -> Batch:
        key_draw, key_augment = jax.random.split(key)
        chosen = draw_batch(key_draw, len(valid.labels), strategy.valid_batch_size)
        images = valid_images(key_augment, valid.images[chosen])
        return Batch(images, valid.labels[chosen])

    def weight_step(state: SearchState, chosen: Array, rate: Array) -> SearchState:
        def key(name):
            epoch_key = jax.random.fold_in(stream(seed, name), state.epoch)
            return jax.random.fold_in(epoch_key, state.step)

        images = augment(key("augment"), train.images[chosen], data, *scale)
        batch = Batch(images, train.labels[chosen])
        if strategy.every == "step":
            new, _ = strategy.update(
                key("update"),
                state.strategy,
                state.variables,
                batch,
                valid_batch(key("valid")),
            )
            state = state._replace(strategy=new)
        mixing = strategy.mixing(key("mixing"), state.strategy)
        return sgd_step(net, sgd, regime, state, mixing, batch, rate)

    def train_steps(state, start, stop, rate):
        order = epoch_permutation(stream(seed, "order"), num_images, state.epoch)
        batches = order[: full * size].reshape(full, size)

        def body(i, state):
            return weight_step(state, batches[i], rate)

        state = lax.fori_loop(start, jnp.minimum(stop, full), body, state)
        if steps > full:  # a batch of its own size, so a second copy of the step
            state = lax.cond(
                stop == steps,
                lambda state: weight_step(state, order[full * size :], rate),
                lambda state: state,
                state,
            )
        return state, jax.tree.map(jnp.copy, state.totals)

    def validate(state: SearchState):
        mixing = strategy.incumbent(state.strategy)
        members = jax.tree.map(lambda leaf: leaf[None], mixing)
        key = jax.random.fold_in(stream(seed, "validate"), state.epoch)
        scores = score_population(
            net,
            state.variables,
            members,
            valid_images(key, valid.images),
            valid.labels,
            population_chunk=None,
            image_chunk=validation_chunk,
            batch_stats="running",
        )
        return jax.tree.map(lambda leaf: leaf[0], scores)

    def evolve(state: SearchState):
        def key(name):
            return jax.random.fold_in(stream(seed, name), state.epoch)

        batch = valid_batch(key("valid"))
        new, info = strategy.update(
            key("update"), state.strategy, state.variables, batch, batch
        )
        return state._replace(strategy=new), info

    def curvature(state: SearchState, directions: Array):
        # the same images every epoch: figures that are compared differ by alpha alone
        chosen = draw_batch(stream(seed, "watch"), len(valid.labels), watch.images)
        images = normalise(valid.images[chosen], *scale)
        batch = Batch(images, valid.labels[chosen])
        return hessian_products(
            twice_differentiable(net),
            strategy,
            state.strategy,
            state.variables,
            batch,
            directions,
        )

    return {
        "train_steps": train_steps,
        "validate": validate,
        "evolve": evolve,
        "curvature": curvature,
    }


def sgd_step(
    net: Supernet,
    sgd: SGD,
    regime: Regime,
    state: SearchState,
    mixing: PyTree,
    batch: Batch,
    rate: Array,
) -> SearchState:
    """One update of the weights, and of the running sums of the epoch."""
    sources = {"params": state.params}
    if regime.alpha_in_clip:
        sources["primitives"] = mixing.primitives

    def network(sources, stats, mixing):
        rows = sources.get("primitives", mixing.primitives)
        variables = {"params": sources["params"], "batch_stats": stats}
        return variables, mixing._replace(primitives=rows)

    found, stats = batch_gradients(
        net, network, sources, batch, state.batch_stats, mixing
    )
    accumulated = state.alpha_gradient
    if regime.alpha_in_clip:
        accumulated = jax.tree.map(
            lambda a, p, g: a + softmax_gradient(p, g),
            accumulated,
            mixing.primitives,
            found.sources["primitives"],
        )
    gradients = found.sources["params"], accumulated
    clip = optax.clip_by_global_norm(sgd.clip_norm)
    (gradient, accumulated), _ = clip.update(gradients, clip.init(gradients))
    optimizer = make_optimizer(sgd, rate)
    updates, moved = optimizer.update(gradient, state.optimizer, state.params)
    size = len(batch.labels)
    totals = Totals(
        state.totals.loss + found.loss * size,
        state.totals.correct + found.correct,
        state.totals.images + size,
    )
    return state._replace(
        params=optax.apply_updates(state.params, updates),
        batch_stats=stats,
        optimizer=moved,
        alpha_gradient=accumulated,
        totals=totals,
        step=state.step + 1,
    )
