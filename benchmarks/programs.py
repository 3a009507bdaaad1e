"""Builds and compiles the functions of a search that are timed."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import problem
from egnas_jax.data.config import DataConfig
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.evaluate import score_population
from egnas_jax.search.state import SearchProblem, SearchState, zero_totals
from egnas_jax.search.step import sgd_step
from egnas_jax.strategies.random_search import RandomSearchConfig, random_search
from egnas_jax.training.sgd import SGD, make_optimizer
from egnas_jax.types import PyTree

CACHE_HIT = "/jax/compilation_cache/cache_hits"  # an event of `jax.monitoring`
SETTINGS = SGD(
    batch_size=problem.BATCH,
    learning_rate=problem.LEARNING_RATE,
    learning_rate_min=0.0,
    momentum=problem.MOMENTUM,
    weight_decay=problem.WEIGHT_DECAY,
    clip_norm=problem.CLIP,
    epochs=50,
)


class Compiled(NamedTuple):
    """A compiled program.

    Attributes:
      call: takes the arguments that the program was compiled for.
      seconds: time to trace and compile.
      bytes: memory that XLA reserves for a call, with arguments and results.
      from_cache: whether the program was read from JAX's persistent cache.
    """

    call: Callable
    seconds: float
    bytes: int
    from_cache: bool = False


def compile_program(function, *arguments, precision=None, **options) -> Compiled:
    """Traces and compiles a function under a `jax.default_matmul_precision`.

    Args:
      function: the function to compile.
      arguments: arrays, or their shapes.
      precision: "highest", or None for jax's default.
      options: options of `jax.jit`.
    """
    started = time.perf_counter()
    run = jax.jit(function, compiler_options=lowering.compiler_options(), **options)
    with jax.default_matmul_precision(precision):
        lowered = run.lower(*arguments)
        with counted_cache_hits() as hits:
            program = lowered.compile()
    seconds = time.perf_counter() - started
    return Compiled(program, seconds, reserved_bytes(program), bool(hits))


@contextlib.contextmanager
def counted_cache_hits() -> Iterator[list[str]]:
    """A context in which each program that JAX reads from its cache adds an entry."""
    hits: list[str] = []

    def listen(event: str, **details) -> None:
        if event == CACHE_HIT:
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(listen)


def reserved_bytes(program) -> int:
    """Memory that XLA reserves for a call of a compiled program.

    Arguments and results count; donated arguments count once.
    """
    memory = program.memory_analysis()
    return (
        memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )


def population(net: Supernet, batch_stats: str, population_chunk: int | None = None):
    """Returns (variables, mixings, images, labels) -> Evaluation [P]."""

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
    """Returns (state, count, mixing, batch, rate) -> the state after `count` steps.

    The totals of the new state are those of this call. The state may be donated.
    """

    search = SearchProblem(
        net=net,
        strategy=random_search(net, RandomSearchConfig()),  # the mixing is given
        schedule=EpochSchedule(),
        augmentation=DataConfig(),
        sgd=SETTINGS,
        valid_batch_size=problem.BATCH,
    )

    def run(state, count, mixing, batch, rate):
        def step(_, state):
            return sgd_step(search, rate, state, mixing, batch)[0]

        return lax.fori_loop(0, count, step, state.replace(totals=zero_totals()))

    return run


def first_state(variables: PyTree) -> SearchState:
    """The state before the first weight step; no two leaves share a buffer."""
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
    """Seconds of one call until its results are ready."""
    started = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - started
