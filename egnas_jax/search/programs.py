"""Makes and compiles the programs of one search problem.

Dims: M directions, D flat length of all alphas.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from egnas_jax.nn import lowering
from egnas_jax.search import step, validation
from egnas_jax.search.state import SearchData, SearchHyperparams, SearchProblem
from egnas_jax.search.strategy import Strategy
from egnas_jax.space import SPACES
from egnas_jax.training import program_cache
from egnas_jax.training.devices import everywhere
from egnas_jax.training.lockstep_plan import steady
from egnas_jax.training.shards import division_of
from egnas_jax.types import PyTree


class SearchPrograms(NamedTuple):
    """The functions of a search under `jax.jit`; `compile_programs` compiles them.

    The images are bound to the functions that take hyperparameters.

    Attributes:
      train: (hyperparams, state, (start, stop)) -> state, totals; see
        `step.train_steps`. The state is donated.
      validate: (hyperparams, state) -> Evaluation, see `validation.validate`.
      evolve: (hyperparams, state) -> state, metrics, see `step.evolve`.
      curvature: (hyperparams, state, directions [M, D]) -> [M, D], see
        `validation.curvature`.
      incumbent: state -> the mixing from which the genotype is derived.
      metrics: state -> name -> scalar, what the method says of its state.
      data: the images.
    """

    train: Callable
    validate: Callable
    evolve: Callable
    curvature: Callable
    incumbent: Callable
    metrics: Callable
    data: SearchData


def make_programs(problem: SearchProblem, data: SearchData) -> SearchPrograms:
    """Wraps the steps of a search in `jax.jit`; each compiles at its first call.

    The data are arguments of the jitted functions, since arrays that several
    processes hold cannot be constants of a program.
    """

    def jitted(function, **options):
        bound = functools.partial(function, problem)
        if division_of(problem.net).in_lockstep:
            bound = steady(bound)
        bound.__name__ = function.__name__  # of the compiled program
        program = jax.jit(
            bound,
            compiler_options=options_of(data),
            out_shardings=everywhere(problem.net.mesh),
            **options,
        )
        return functools.partial(program, data)

    strategy = problem.strategy
    return SearchPrograms(
        train=jitted(step.train_steps, donate_argnums=2),
        validate=jitted(validation.validate),
        evolve=jitted(step.evolve),
        curvature=jitted(validation.curvature),
        incumbent=jax.jit(lambda state: strategy.incumbent(state.strategy)),
        metrics=_metrics_of(strategy),
        data=data,
    )


def options_of(data: SearchData) -> dict:
    """Compiler options of the programs that run a supernet on these images."""
    return lowering.compiler_options(data.train.images.shape[1:3])


def _metrics_of(strategy: Strategy) -> Callable:
    """A function that computes a method's metrics; {} for a method without any."""
    if strategy.metrics is None:
        return lambda state: {}
    program = jax.jit(lambda state: strategy.metrics(state.strategy))

    def metrics(state):
        return {name: value.tolist() for name, value in program(state).items()}

    return metrics


def compile_programs(
    problem: SearchProblem,
    programs: SearchPrograms,
    hyperparams: SearchHyperparams,
    state: PyTree,
    *,
    identity: Mapping | None,
    monitor: program_cache.CompileMonitor = program_cache.unmonitored,
) -> SearchPrograms:
    """Compiles the functions side by side, or reads them from the user's cache.

    Programs for which this is not called compile at their first call.

    Args:
      problem: as passed to `make_programs`.
      programs: its result.
      hyperparams: for their dtypes; the values do not matter.
      state: shapes and dtypes of the state.
      identity, monitor: see `program_cache.compile_all`.
    """
    requests = program_requests(problem, programs, hyperparams, state)
    return programs._replace(**program_cache.compile_all(requests, identity, monitor))


def program_requests(
    problem: SearchProblem,
    programs: SearchPrograms,
    hyperparams: SearchHyperparams,
    state: PyTree,
) -> dict[str, program_cache.ProgramRequest]:
    """The programs that a search compiles, by name; that of its weight steps first.

    Args:
      problem, programs, hyperparams, state: see `compile_programs`.
    """
    mesh, watch = problem.net.mesh, problem.watch
    shape = functools.partial(jax.ShapeDtypeStruct, sharding=everywhere(mesh))
    state = jax.tree.map(lambda leaf: shape(leaf.shape, leaf.dtype), state)
    index = shape((), jnp.int32)
    calls = {"train": (hyperparams, state, (index, index))}
    if problem.strategy.update_every == "epoch":
        calls["evolve"] = (hyperparams, state)
    calls["validate"] = (hyperparams, state)
    if watch.eigenvalue != "off":
        dim = SPACES[problem.net.config.space].dim
        rows = dim if watch.eigenvalue == "exact" else 1
        calls["curvature"] = (hyperparams, state, shape((rows, dim), jnp.float32))
    options = options_of(programs.data)
    return {
        name: program_cache.ProgramRequest(getattr(programs, name), arguments, options)
        for name, arguments in calls.items()
    }
