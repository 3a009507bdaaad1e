"""Maps the steps of a search over several searches, which run side by side.

The searches of a batch are its members. They share the images of one pool, and each has
a split of its own, its own seed and its own hyperparameters, those of SGD included. No
member depends on another. Epoch and step are the same for all of them, so that what a
method does in some epochs alone is computed in these epochs alone.

Dims: M members, N images of the pool, T and V training and validation images of a
member, H, W height and width in pixels, C channels.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.nn import lowering
from egnas_jax.search import step, validation
from egnas_jax.search.search_run import SearchRun, layout
from egnas_jax.search.state import (
    SearchData,
    SearchHyperparams,
    SearchProblem,
    SearchState,
)
from egnas_jax.training import program_cache
from egnas_jax.training.member_axis import (
    Axes,
    jit_over_devices,
    shapes_of,
    stack_trees,
)
from egnas_jax.types import Array


@flax.struct.dataclass
class MembersData:
    """The images of a batch of searches.

    Attributes:
      images, labels: the pool, u8[N, H, W, C] and i32[N].
      train, valid: rows of the pool that a member trains on and validates with,
        i32[M, T] and i32[M, V].
      scale: mean and standard deviation of the channels, f32[M, 2, C].
    """

    images: Array
    labels: Array
    train: Array
    valid: Array
    scale: Array


@flax.struct.dataclass
class MemberHyperparams:
    """The numbers of the members that affect no shape.

    They include what a search alone has as constants of its programs.

    Attributes:
      search: leaves [M]; `epochs` and `first_epoch` are [] and the same for all.
      momentum, weight_decay, clip_norm: of SGD on the weights, f32[M].
    """

    search: SearchHyperparams
    momentum: Array
    weight_decay: Array
    clip_norm: Array


class Member(NamedTuple):
    """One search of a batch.

    Attributes:
      run: of the search; its programs are not used.
      train, valid: rows of the pool, i32[T] and i32[V].
      scale: mean and standard deviation of its channels, f32[2, C].
    """

    run: SearchRun
    train: np.ndarray
    valid: np.ndarray
    scale: np.ndarray


class MemberPrograms(NamedTuple):
    """The functions of a batch under `jax.jit`; `compile_members` compiles them.

    Every state has leaves [M, ...], but `epoch` and `step` are [].

    Attributes:
      train: (data, hyperparams, state, (start, stop)) -> state, totals; see
        `step.train_steps`. The state is donated.
      validate: (data, hyperparams, state) -> Evaluation [M].
      evolve: (data, hyperparams, state) -> state, metrics [M, ...].
      describe: state -> the incumbents, and the metrics of the method's state.
      mesh: of the devices among which the members are divided; None for one device.
    """

    train: Callable
    validate: Callable
    evolve: Callable
    describe: Callable
    mesh: Mesh | None = None


DATA_AXES = MembersData(images=None, labels=None, train=0, valid=0, scale=0)
_HYPERPARAMS_AXES = MemberHyperparams(
    search=SearchHyperparams(
        seed=0, learning_rate=0, strategy=0, epochs=None, first_epoch=None
    ),
    momentum=0,
    weight_decay=0,
    clip_norm=0,
)
_STATE_AXES = SearchState(
    params=0,
    batch_stats=0,
    optimizer=0,
    alpha_gradient=0,
    strategy=0,
    totals=0,
    epoch=None,
    step=None,
)
_CALL_AXES = DATA_AXES, _HYPERPARAMS_AXES, _STATE_AXES


class _Rows:
    """Some rows of an array, which are copied as they are read."""

    def __init__(self, pool: Array, rows: Array):
        self.pool, self.rows = pool, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Array) -> Array:
        return self.pool[self.rows[chosen]]


def make_member_programs(
    problem: SearchProblem,
    image_shape: tuple[int, int, int],
    mesh: Mesh | None = None,
) -> MemberPrograms:
    """Wraps the steps of M searches in `jax.jit`; each compiles at its first call.

    Args:
      problem: of any member, without a mesh. The numbers of its SGD are not used.
      image_shape: (H, W, C).
      mesh: of the devices that divide the members, see `training.member_axis`.
    """
    options = lowering.compiler_options(image_shape[:2])
    strategy = problem.strategy

    def jitted(function, *, more=(), out_axes=0, donate=()):
        def one(data, hyperparams, state, *rest):
            arguments = _data_of(data, function), hyperparams.search, state, *rest
            with lowering.matrix_convolutions():
                return function(_with_sgd(problem, hyperparams), *arguments)

        axes = DATA_AXES, _HYPERPARAMS_AXES, _STATE_AXES, *more
        several = jax.vmap(one, in_axes=axes, out_axes=out_axes)
        several.__name__ = f"{function.__name__}_of_members"  # of the program
        return jax.jit(several, compiler_options=options, donate_argnums=donate)

    def describe(state):
        metrics = {} if strategy.metrics is None else strategy.metrics(state.strategy)
        return strategy.incumbent(state.strategy), metrics

    with_state = _STATE_AXES, 0
    return MemberPrograms(
        train=jitted(step.train_steps, more=(None,), out_axes=with_state, donate=2),
        validate=jitted(validation.validate),
        evolve=jitted(step.evolve, out_axes=with_state),
        describe=jit_over_devices(
            jax.vmap(describe, in_axes=(_STATE_AXES,)),
            Axes((_STATE_AXES,), 0),
            mesh,
            name="describe",
        ),
        mesh=mesh,
    )


def _with_sgd(problem: SearchProblem, hyperparams: MemberHyperparams) -> SearchProblem:
    """The problem with the traced numbers of one member's SGD."""
    sgd = problem.sgd._replace(
        momentum=hyperparams.momentum,
        weight_decay=hyperparams.weight_decay,
        clip_norm=hyperparams.clip_norm,
    )
    return problem._replace(sgd=sgd)


def _data_of(data: MembersData, function: Callable) -> SearchData:
    """The images of one member as a step reads them.

    The validation reads all of its images. Other steps read a batch at a time, and no
    other image of the pool is copied for them.
    """

    def part(rows):
        if function is validation.validate:
            return LabelledImages(data.images[rows], data.labels[rows])
        return LabelledImages(_Rows(data.images, rows), _Rows(data.labels, rows))

    return SearchData(part(data.train), part(data.valid), data.scale)


def compile_members(
    programs: MemberPrograms,
    members: Sequence[Member],
    data: MembersData,
    *,
    identity: Mapping | None,
    monitor: program_cache.CompileMonitor = program_cache.unmonitored,
) -> MemberPrograms:
    """Compiles the programs of a batch side by side, or reads them from the cache.

    Args:
      programs: the result of `make_member_programs`.
      members: M searches.
      data: for its shapes.
      identity, monitor: see `program_cache.compile_all`.
    """
    run, hyperparams = members[0].run, stack_hyperparams(members)
    options = lowering.compiler_options(run.image_shape[:2])
    shape = jax.ShapeDtypeStruct

    def of_all(leaf):
        return shape((len(members), *leaf.shape), leaf.dtype)

    one = layout(run)
    state = jax.tree.map(of_all, one).replace(epoch=one.epoch, step=one.step)
    index = shape((), jnp.int32)
    arguments = shapes_of(programs.mesh, (data, hyperparams, state), _CALL_AXES)
    calls = {"train": (*arguments, shapes_of(programs.mesh, (index, index), None))}
    if run.problem.strategy.update_every == "epoch":
        calls["evolve"] = arguments
    calls["validate"] = arguments
    requests = {
        name: program_cache.ProgramRequest(
            functools.partial(getattr(programs, name)), arguments, options
        )
        for name, arguments in calls.items()
    }
    return programs._replace(**program_cache.compile_all(requests, identity, monitor))


def stack_hyperparams(members: Sequence[Member]) -> MemberHyperparams:
    """Stacks the numbers of M searches; their learning rates are those of epoch 0."""
    runs = [member.run for member in members]
    search = stack_trees([run.hyperparams for run in runs])
    first = runs[0].hyperparams
    numbers = {
        name: np.float32([getattr(run.problem.sgd, name) for run in runs])
        for name in ("momentum", "weight_decay", "clip_norm")
    }
    same = {"epochs": first.epochs, "first_epoch": first.first_epoch}
    return MemberHyperparams(search=search.replace(**same), **numbers)


def stack_states(states: Sequence[SearchState]) -> SearchState:
    """Stacks the states of searches that are in the same step of the same epoch."""
    # copies, since the programs donate the stacked state
    same = {"epoch": np.array(states[0].epoch), "step": np.array(states[0].step)}
    return stack_trees(states).replace(**same)


def state_of(states: SearchState, index: int) -> SearchState:
    """Returns the state of one member of stacked states."""
    own = states.replace(epoch=None, step=None)
    own = jax.tree.map(lambda leaf: np.asarray(leaf[index]), own)
    return own.replace(epoch=states.epoch, step=states.step)
