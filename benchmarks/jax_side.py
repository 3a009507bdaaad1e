"""Runs our side of the benchmark: the compiled functions that a search calls.

Every timed call follows an untimed one, as in a search, where call follows call. So
effects of another process on the machine's memory in between are not measured.
"""

import functools
import time

import jax
import jax.numpy as jnp

from benchmarks import limits, programs
from benchmarks.problem import BATCH, IMAGES, LEARNING_RATE, Problem
from egnas_jax import interop
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.search.evaluate import STATISTICS
from egnas_jax.search.relax import unweighted
from egnas_jax.training import program_cache
from egnas_jax.types import Batch


class JaxSide:
    """The supernet, the state of its weights, and the programs that are timed."""

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
        """Compiles the programs as a search does, or reads them from the cache.

        Returns:
          Seconds for all programs, and the bytes that XLA reserves for a call of each.
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
        batch = jax.tree.map(lambda leaf: leaf[:IMAGES], self.batch)
        return self.variables, self.mixings, batch.images, batch.labels

    def _step_arguments(self, count: int) -> tuple:
        mixing = jax.tree.map(lambda leaf: leaf[0], self.mixings)
        rate = jnp.float32(LEARNING_RATE)
        return self.state, jnp.int32(count), mixing, self.batch, rate

    def population(self, *, batch_stats: str) -> dict:
        """Evaluates all individuals on the fitness batch."""
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
        """Limits of these cores in bytes and operations per second."""
        return {
            "bytes_per_s": limits.copy_bandwidth(2**28),
            "operations_per_s": limits.matmul_rate(2048, "float32", None),
        }

    def weight_step(self, *, steps: int) -> dict:
        """Times SGD steps on all images in one call, as `steps_per_call` in a search.

        Weights change from call to call; one untimed step comes first.

        Returns:
          Seconds per step, the loss of the untimed step, and the mean of the others.
        """
        losses = []
        for count in (1, steps):
            arguments = self._step_arguments(count)
            started = time.perf_counter()
            self.state = self.programs["weight_step"](*arguments)
            losses.append(float(self.state.totals.loss) / BATCH / count)
            seconds = (time.perf_counter() - started) / count
        return {"seconds": seconds, "loss": losses}


def _request(function, arguments: tuple, **options) -> program_cache.ProgramRequest:
    """A request to `program_cache` with options of `jax.jit`."""
    compiler = lowering.compiler_options()
    program = jax.jit(function, compiler_options=compiler, **options)
    return program_cache.ProgramRequest(functools.partial(program), arguments, compiler)
