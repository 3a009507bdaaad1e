"""Offers a search as a record of pure functions, which `jax.vmap` batches.

They are the functions that the loop compiles (`search.step`), with the order of an
epoch, and with the random numbers and the learning rate taken from their arguments. No
function reads a clock or a file, and none is compiled here. Like a run they compute in
32 bits, whatever JAX_ENABLE_X64 says.

Dims: N images, H, W height and width in pixels, C channels, B images of a weight step,
S weight steps of an epoch, T epochs of the search, E edges, K primitives.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn import lowering
from egnas_jax.search import step, validation
from egnas_jax.search.data_checks import check_data
from egnas_jax.search.epoch import evolve_order, rate_of_epoch, steps_of_epoch
from egnas_jax.search.state import (
    SearchData,
    SearchHyperparams,
    SearchProblem,
    SearchState,
    Totals,
    init_state,
    zero_totals,
)
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.space import SPACES, Genotype, Topology
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.random_streams import root_key
from egnas_jax.types import Array, Evaluation, Key, Mixing, PyTree


@flax.struct.dataclass
class KeyedState:
    """A search with the key of its random streams.

    Attributes:
      key: from which every stream of the search descends; no call changes it.
      search: weights, batch_stats, the method's state, and the epoch.
    """

    key: Key
    search: SearchState


@flax.struct.dataclass
class ScheduledHyperparams:
    """The numbers of a whole search that affect no shape.

    Attributes:
      learning_rates: of SGD on the weights in each epoch, f32[T]. Later epochs have
        that of the last.
      strategy: scalars of the method, as `Strategy.hyperparams` has them, f32[] each.
      epochs: over which the method's own schedules run, i32[]; T in a configuration.
    """

    learning_rates: Array
    strategy: PyTree
    epochs: Array


class EpochResult(NamedTuple):
    """What an epoch measured.

    Attributes:
      totals: sums over the images of the weight steps: loss f32[], correct i32[],
        images i32[].
      evaluation: of the incumbent on all validation images: loss f32[], correct i32[],
        accuracy f32[].
      learning_rate: of the weight steps, f32[].
      metrics: name -> what the method reports of its update and of its state.
    """

    totals: Totals
    evaluation: Evaluation
    learning_rate: Array
    metrics: dict[str, Array]


class SearchFunctions(NamedTuple):
    """A search as pure functions, each for one search; `jax.vmap` makes them many.

    `state` is a `KeyedState`, `data` a `SearchData` and `hyperparams` a
    `ScheduledHyperparams`. The data of a batch of searches are not batched: all its
    members share the images and their split. `jax.jit` may donate the state.

    Attributes:
      init: (key, hyperparams) -> the state before the first epoch. `key` is a key of
        `jax.random`, or a seed u32[] in place of `jax.random.key(seed)`.
      epoch: (state, data, hyperparams) -> the state before the next epoch, and an
        `EpochResult`. All S weight steps and the update of the method, in the order of
        the schedule, then the validation.
      train_steps: (state, data, hyperparams, (start, stop)) -> state, totals. The
        weight steps of an epoch from `start` to `stop` (excluded), i32[] each.
      weight_step: (state, data, hyperparams, chosen) -> state. One step on the training
        images with the indices `chosen`, i32[B].
      evolve: (state, data, hyperparams) -> state, metrics. The update of a method that
        updates once an epoch. It counts no epoch of the search, which `epoch` alone
        does; in the epochs of a warm-up it leaves the architecture as it is.
      validate: (state, data, hyperparams) -> Evaluation of the incumbent on all
        validation images, with running statistics.
      incumbent: state -> the mixing from which the genotype is derived: cell kind ->
        f32[E, K] and f32[E].
      derive: one search's incumbent -> its genotype. Runs on the host.
      hyperparams: those of the configuration, arrays of the host.
      compiler_options: that `run_search` gives to `jax.jit`. With them tiny images
        compile much faster.
    """

    init: Callable[[Key | Array | int, ScheduledHyperparams], KeyedState]
    epoch: Callable[..., tuple[KeyedState, EpochResult]]
    train_steps: Callable[..., tuple[KeyedState, Totals]]
    weight_step: Callable[..., KeyedState]
    evolve: Callable[..., tuple[KeyedState, dict[str, Array]]]
    validate: Callable[..., Evaluation]
    incumbent: Callable[[KeyedState], Mixing]
    derive: Callable[[Mixing], Genotype | Topology]
    hyperparams: ScheduledHyperparams
    compiler_options: dict[str, str | int]


def make_functions(
    problem: SearchProblem,
    image_shape: tuple[int, int, int],
    hyperparams: SearchHyperparams,
) -> SearchFunctions:
    """Binds the functions of a search to what is searched.

    Args:
      problem: without a mesh, and of a method without stages.
      image_shape: (H, W, C) of all images.
      hyperparams: of the configuration. Its seed and learning rate are not used: the
        key is an argument of `init`, and `problem.sgd` has the learning rates.
    """

    space, strategy = SPACES[problem.net.config.space], problem.strategy
    steps = _bound_steps(problem, image_shape)

    @pinned()
    def init(key, hyperparams):
        key = jnp.copy(root_key(key))  # the caller's stays where a state is donated
        running = _running(key, hyperparams, 0)
        return KeyedState(key, init_state(problem, image_shape, running))

    @pinned()
    def epoch(state, data, hyperparams):
        check_data(problem, image_shape, data)
        return _epoch(problem, steps, state, data, hyperparams)

    @pinned()
    def incumbent(state):
        return strategy.incumbent(state.search.strategy)

    return SearchFunctions(
        init=init,
        epoch=epoch,
        **steps._asdict(),
        incumbent=incumbent,
        derive=lambda mixing: derive_incumbent(strategy, space, mixing),
        hyperparams=_scheduled(problem, hyperparams),
        compiler_options=lowering.compiler_options(image_shape[:2]),
    )


class _Steps(NamedTuple):
    """The parts of an epoch, see `SearchFunctions`."""

    train_steps: Callable
    weight_step: Callable
    evolve: Callable
    validate: Callable


def _bound_steps(problem: SearchProblem, image_shape: tuple[int, int, int]) -> _Steps:
    """The functions of `search.step` for a state that holds its key."""

    def arguments(state, data, hyperparams):
        check_data(problem, image_shape, data)
        running = _running(state.key, hyperparams, state.search.epoch)
        return problem, data, running, state.search

    @pinned()
    def train_steps(state, data, hyperparams, span):
        new, totals = step.train_steps(*arguments(state, data, hyperparams), span)
        return state.replace(search=new), totals

    @pinned()
    def weight_step(state, data, hyperparams, chosen):
        new = step.weight_step(*arguments(state, data, hyperparams), chosen)
        return state.replace(search=new)

    @pinned()
    def evolve(state, data, hyperparams):
        _check_updates_once(problem)
        new, metrics = step.evolve(*arguments(state, data, hyperparams))
        return state.replace(search=new), metrics

    @pinned()
    def validate(state, data, hyperparams):
        return validation.validate(*arguments(state, data, hyperparams))

    return _Steps(train_steps, weight_step, evolve, validate)


def _epoch(
    problem: SearchProblem,
    steps: _Steps,
    state: KeyedState,
    data: SearchData,
    hyperparams: ScheduledHyperparams,
) -> tuple[KeyedState, EpochResult]:
    """One epoch, from a state between two epochs to the next."""
    before, after = evolve_order(problem)
    count, metrics = steps_of_epoch(problem, len(data.train.labels)), {}
    if before:
        state, metrics = steps.evolve(state, data, hyperparams)
    span = jnp.int32(0), jnp.int32(count)
    state, totals = steps.train_steps(state, data, hyperparams, span)
    if after:
        state, metrics = steps.evolve(state, data, hyperparams)
    result = EpochResult(
        totals=totals,
        evaluation=steps.validate(state, data, hyperparams),
        learning_rate=_rate(hyperparams, state.search.epoch),
        metrics={**metrics, **_metrics_of(problem, state.search)},
    )
    search = state.search.replace(
        epoch=state.search.epoch + 1,
        step=jnp.zeros_like(state.search.step),
        totals=zero_totals(),
    )
    return state.replace(search=search), result


def _metrics_of(problem: SearchProblem, state: SearchState) -> dict[str, Array]:
    metrics = problem.strategy.metrics
    return {} if metrics is None else metrics(state.strategy)


def _rate(hyperparams: ScheduledHyperparams, epoch: Array | int) -> Array:
    rates = jnp.asarray(hyperparams.learning_rates)
    return rates[jnp.minimum(epoch, len(rates) - 1)]


def _running(
    key: Key, hyperparams: ScheduledHyperparams, epoch: Array | int
) -> SearchHyperparams:
    """The hyperparameters of the running epoch, as the steps take them."""
    return SearchHyperparams(
        seed=key,
        learning_rate=_rate(hyperparams, epoch),
        strategy=hyperparams.strategy,
        epochs=hyperparams.epochs,
    )


def _scheduled(
    problem: SearchProblem, hyperparams: SearchHyperparams
) -> ScheduledHyperparams:
    epochs = range(problem.sgd.epochs)
    return ScheduledHyperparams(
        learning_rates=np.float32([rate_of_epoch(problem, t) for t in epochs]),
        strategy=hyperparams.strategy,
        epochs=hyperparams.epochs,
    )


def _check_updates_once(problem: SearchProblem) -> None:
    if problem.strategy.update_every != "epoch":
        raise ValueError(
            "evolve was called, but this method updates in every weight step. Call "
            "epoch, train_steps or weight_step, which update it."
        )
