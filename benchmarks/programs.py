"""The functions of a search that are timed, and how they are compiled."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import problem as given
from egnas_jax.data.config import DataConfig
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import score_population
from egnas_jax.search.step import SearchProblem, SearchState, sgd_step, zero_totals
from egnas_jax.search.strategy import EpochSchedule
from egnas_jax.training.sgd import SGD, make_optimizer
from egnas_jax.types import PyTree

SETTINGS = SGD(
    given.BATCH,
    given.LEARNING_RATE,
    0.0,
    given.MOMENTUM,
    given.WEIGHT_DECAY,
    given.CLIP,
    50,
)


class Compiled(NamedTuple):
    """A program.

    Attributes:
      call: with the arguments that it was compiled for.
      seconds: to trace and compile it.
      bytes: that XLA reserves for a call, arguments and results included.
    """

    call: Callable
    seconds: float
    bytes: int


def compile_program(function, *arguments, precision=None, **options) -> Compiled:
    """Traces and compiles under a `jax.default_matmul_precision`.

    Args:
      function: of the arguments.
      arguments: arrays, or their shapes.
      precision: "highest", or None for jax's own choice.
      options: of `jax.jit`.
    """
    started = time.perf_counter()
    run = jax.jit(function, compiler_options=lowering.compiler_options(), **options)
    with jax.default_matmul_precision(precision):
        program = run.lower(*arguments).compile()
    seconds = time.perf_counter() - started
    return Compiled(program, seconds, reserved_bytes(program))


def reserved_bytes(program) -> int:
    """What XLA reserves for a call of a compiled program.

    Arguments and results count; what is donated counts once.
    """
    memory = program.memory_analysis()
    return (
        memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )


def population(net: Supernet, batch_stats: str, population_chunk: int | None = None):
    """(variables, mixings, images, labels) -> Evaluation [P]."""

    def score(*arguments):
        return score_population(
            net,
            *arguments,
            population_chunk=population_chunk,
            image_chunk=None,
            batch_stats=batch_stats,
        )

    return score


def weight_steps(net: Supernet):
    """(state, count, mixing, batch, rate) -> the state after so many steps, its totals
    those of this call. Donate the state."""

    problem = SearchProblem(
        net=net,
        strategy=None,  # the mixing is given
        schedule=EpochSchedule(),
        augmentation=DataConfig(),
        sgd=SETTINGS,
        valid_batch_size=given.BATCH,
    )

    def run(state, count, mixing, batch, rate):
        def step(_, state):
            return sgd_step(problem, rate, state, mixing, batch)

        return lax.fori_loop(0, count, step, state.replace(totals=zero_totals()))

    return run


def first_state(variables: PyTree) -> SearchState:
    """Before the first weight step; no two leaves share a buffer."""
    params, zero = variables["params"], jnp.zeros((), jnp.int32)
    state = SearchState(
        params=params,
        batch_stats=variables["batch_stats"],
        optimizer=make_optimizer(SETTINGS, 0.0).init(params),
        alpha_gradient={},
        strategy=(),
        totals=zero_totals(),
        epoch=zero,
        step=zero,
    )
    return jax.tree.map(jnp.copy, state)


def seconds_of(call: Callable[[], Any]) -> float:
    """Of one call, until its results are there."""
    started = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - started
