"""Compiles the weight steps and the logits of several retrainings as one program.

The retrainings of a batch are its members. They train networks of one genotype on the
same images, each with its own seed and its own numbers of SGD. No member depends on
another. All are in the same step, so that the step is no array of theirs.

The logits of an evaluation are computed for one network after another (on several
devices, of those of each device), by the operations of a network alone.

Dims: M members, S steps of a call, B images of a block, K classes, H, W height and
width in pixels, C channels.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from egnas_jax.data.augment import normalise
from egnas_jax.nn import lowering
from egnas_jax.nn.network import Network
from egnas_jax.retrain.loop import RetrainRun, step_schedules
from egnas_jax.retrain.predict import BLOCK
from egnas_jax.retrain.step import (
    RetrainHyperparams,
    RetrainProblem,
    RetrainState,
    hyperparams_of,
    train_steps,
)
from egnas_jax.training import program_cache
from egnas_jax.training.member_axis import (
    Axes,
    jit_over_devices,
    put,
    shapes_of,
    stack_trees,
)
from egnas_jax.types import Array, PyTree


@flax.struct.dataclass
class MemberInputs:
    """The numbers of a call that differ between members.

    Attributes:
      seed: i32[M].
      learning_rates, drop_paths: of each step, f32[M, S].
      hyperparams: leaves f32[M].
    """

    seed: Array
    learning_rates: Array
    drop_paths: Array
    hyperparams: RetrainHyperparams


class MemberPrograms(NamedTuple):
    """The functions of a batch of retrainings.

    Every state has leaves [M, ...], but `step` is [].

    Attributes:
      train: (state, loaded images of all members, inputs, count) -> state, see
        `step.train_steps`. The state is donated.
      logits: (variables [M, ...], images u8[B, H, W, C]) -> f32[M, B, K].
      mesh: of the devices among which the members are divided; None for one device.
    """

    train: Callable
    logits: Callable
    mesh: Mesh | None = None


STATE_AXES = RetrainState(
    params=0, batch_stats=0, optimizer=0, losses=0, correct=0, step=None
)


def make_member_programs(
    problem: RetrainProblem, mesh: Mesh | None = None
) -> MemberPrograms:
    """Wraps the functions of M retrainings in `jax.jit`; nothing is compiled yet.

    Args:
      problem: of any member. Its seed and its numbers of SGD are not used.
      mesh: of the devices that divide the members, see `training.member_axis`.
    """
    options = lowering.compiler_options(problem.image_shape[:2])

    def train(state, loaded, inputs, count):
        with lowering.matrix_convolutions():
            return train_steps(
                problem,
                state,
                loaded,
                count=count,
                learning_rates=inputs.learning_rates,
                drop_paths=inputs.drop_paths,
                seed=inputs.seed,
                hyperparams=inputs.hyperparams,
            )

    axes = Axes((STATE_AXES, problem.pipeline.joined.axes, 0, None), STATE_AXES)
    return MemberPrograms(
        train=jit_over_devices(
            jax.vmap(train, in_axes=axes.inputs, out_axes=axes.outputs),
            axes,
            mesh,
            name="train_steps_of_members",
            donate_argnums=0,
            compiler_options=options,
        ),
        logits=jit_over_devices(
            functools.partial(_logits, problem.net, problem.scale),
            _LOGITS_AXES,
            mesh,
            name="logits_of_members",
            compiler_options=options,
        ),
        mesh=mesh,
    )


_LOGITS_AXES = Axes((0, None), 0)


def _logits(net: Network, scale: tuple, variables: PyTree, images: Array) -> Array:
    """The logits f32[M, B, K] of one network after another."""

    def of_one(variables):
        return net.apply(variables, normalise(images, *scale))[0]

    return jax.lax.map(of_one, variables)


def compile_members(
    programs: MemberPrograms,
    run: RetrainRun,
    image_shape: tuple[int, int, int],
    width: int,
) -> MemberPrograms:
    """Compiles the programs of a batch side by side.

    Args:
      programs: the result of `make_member_programs`.
      run: any member.
      image_shape: (H, W, C).
      width: M.

    Raises:
      OutOfMemoryError: the compiler ran out of memory; with the program's name.
    """
    pipeline, size = run.pipeline, run.config.steps_per_call
    one = pipeline.load(0, 1, size)
    pipeline.close()  # what it began to read is read again
    loaded = pipeline.joined.stack([one] * width)
    state = jax.eval_shape(run.programs.init)
    states = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((width, *leaf.shape), leaf.dtype), state
    ).replace(step=state.step)
    arguments = states, loaded, inputs_of([run] * width, 0, 1), np.int32(1)
    axes = STATE_AXES, pipeline.joined.axes, 0, None
    images = jax.ShapeDtypeStruct((BLOCK, *image_shape), jnp.uint8)
    calls = {
        "train": shapes_of(programs.mesh, arguments, axes),
        "logits": shapes_of(programs.mesh, (states.variables, images), (0, None)),
    }
    options = lowering.compiler_options(image_shape[:2])
    requests = {
        name: program_cache.ProgramRequest(
            functools.partial(getattr(programs, name)), shapes, options
        )
        for name, shapes in calls.items()
    }
    return programs._replace(**program_cache.compile_all(requests, identity=None))


def inputs_of(runs: Sequence[RetrainRun], start: int, stop: int) -> MemberInputs:
    """Returns the numbers of M retrainings for the steps of a call.

    Args:
      runs: the members.
      start, stop: the steps, see `loop.run_steps`.
    """
    schedules = [step_schedules(run, start, stop) for run in runs]
    learning_rates, drop_paths = map(np.stack, zip(*schedules, strict=True))
    numbers = [hyperparams_of(run.config) for run in runs]
    return MemberInputs(
        seed=np.int32([run.config.seed for run in runs]),
        learning_rates=learning_rates,
        drop_paths=drop_paths,
        hyperparams=jax.tree.map(lambda *each: np.float32(each), *numbers),
    )


def stack_states(mesh: Mesh | None, states: Sequence[RetrainState]) -> RetrainState:
    """Stacks the states of retrainings that are in the same step, on the devices."""
    together = stack_trees(states).replace(step=np.array(states[0].step))
    return put(mesh, together, STATE_AXES)


def state_of(states: RetrainState, index: int) -> RetrainState:
    """Returns the state of one member of stacked states of the host."""
    member = jax.tree.map(lambda leaf: leaf[index], states.replace(step=None))
    return member.replace(step=states.step)
