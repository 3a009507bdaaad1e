"""Our side: the functions that a search calls, compiled, in a process of their own.

A call is timed after one like it, as in a search, where call follows call: what another
process did in between to the memory of the machine is not ours.
"""

import functools
import time

import jax
import jax.numpy as jnp

from benchmarks import limits, programs
from benchmarks import problem as given
from benchmarks.problem import Problem
from egnas_jax import interop
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.search.evaluate import STATISTICS
from egnas_jax.search.relax import unweighted
from egnas_jax.training import program_cache
from egnas_jax.types import Batch


class JaxSide:
    """The supernet, the state of its weights, and the three programs that are timed."""

    def __init__(self, problem: Problem, cache: str):
        jax.config.update("jax_compilation_cache_dir", cache)
        self.config = problem.config
        self.variables = interop.supernet_from_torch(problem.weights, problem.config)
        self.batch = Batch(
            jnp.asarray(problem.images), jnp.asarray(problem.labels, jnp.int32)
        )
        self.mixings = unweighted(jax.tree.map(jnp.asarray, problem.mixings))
        self.state = programs.first_state(self.variables)  # donated at every step

    def compile(self) -> dict:
        """Compiles the programs, as a search does with its own, or reads what an
        earlier process compiled.

        Returns:
          Seconds of all, and the bytes that XLA reserves for a call of each.
        """
        net = make_supernet(self.config)
        steps, arguments = programs.weight_steps(net), self._step_arguments(1)
        requests = {"weight_step": _request(steps, arguments, donate_argnums=0)}
        for batch_stats in STATISTICS:
            score = programs.population(net, batch_stats)
            requests[batch_stats] = _request(score, self._score_arguments())
        started = time.perf_counter()
        self.programs = program_cache.compile_all(
            requests, {"supernet": repr(self.config)}
        )
        return {
            "seconds": time.perf_counter() - started,
            "bytes": {
                name: programs.reserved_bytes(program.func)
                for name, program in self.programs.items()
            },
        }

    def _score_arguments(self) -> tuple:
        few = jax.tree.map(lambda leaf: leaf[: given.IMAGES], self.batch)
        return self.variables, self.mixings, few.images, few.labels

    def _step_arguments(self, count: int) -> tuple:
        mixing = jax.tree.map(lambda leaf: leaf[0], self.mixings)
        rate = jnp.float32(given.LEARNING_RATE)
        return self.state, jnp.int32(count), mixing, self.batch, rate

    def population(self, *, batch_stats: str) -> dict:
        """Loss and correct answers of all individuals on the fitness batch."""
        program, arguments = self.programs[batch_stats], self._score_arguments()
        jax.block_until_ready(program(*arguments))
        started = time.perf_counter()
        scores = jax.block_until_ready(program(*arguments))
        return {
            "seconds": time.perf_counter() - started,
            "loss": scores.loss.tolist(),
            "correct": scores.correct.tolist(),
        }

    def limits(self) -> dict:
        """What these cores do at most: bytes and operations a second."""
        return {
            "bytes_per_s": limits.copy_bandwidth(2**28),
            "operations_per_s": limits.matmul_rate(2048, "float32", None),
        }

    def weight_step(self, *, steps: int) -> dict:
        """SGD steps on all images, in one call as in a search (`steps_per_call`).

        Weights move on from call to call, by one step before the clock starts.

        Returns:
          The loss of that step, and the mean of those that are timed.
        """
        losses = []
        for count in (1, steps):
            arguments = self._step_arguments(count)
            started = time.perf_counter()
            self.state = self.programs["weight_step"](*arguments)
            losses.append(float(self.state.totals.loss) / given.BATCH / count)
            seconds = (time.perf_counter() - started) / count
        return {"seconds": seconds, "loss": losses}


def _request(function, arguments: tuple, **options) -> program_cache.Request:
    """A program that `ahead` may compile; options are those of `jax.jit`."""
    program = jax.jit(function, compiler_options=lowering.compiler_options(), **options)
    return program_cache.Request(functools.partial(program), arguments)
