"""Our side: the functions that a search calls, compiled, in a process of their own.

A call is timed after one like it, as in a search, where call follows call: what another
process did in between to the memory of the machine is not ours.
"""

import time

import jax
import jax.numpy as jnp

from benchmarks import limits, programs
from benchmarks import problem as given
from benchmarks.problem import Problem
from egnas_jax import interop
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.search.relax import unweighted
from egnas_jax.types import Batch


class JaxSide:
    """The supernet, the state of its weights, and two compiled programs."""

    def __init__(self, problem: Problem, cache: str):
        jax.config.update("jax_compilation_cache_dir", cache)
        self.problem = problem
        self.net = make_supernet(problem.config)
        self.variables = interop.supernet_from_torch(problem.weights, problem.config)
        self.images = jnp.asarray(problem.images)
        self.labels = jnp.asarray(problem.labels, jnp.int32)
        self.mixings = unweighted(jax.tree.map(jnp.asarray, problem.mixings))
        self.programs = {}
        self.state = programs.first_state(self.variables)  # donated at every step

    def _compiled(self, name, function, *arguments, **options) -> programs.Compiled:
        if name not in self.programs:
            self.programs[name] = programs.compile_program(
                function, *arguments, **options
            )
        return self.programs[name]

    def population(self, *, individuals, batch_stats: str):
        """Loss and correct answers of individuals on the fitness batch."""
        chosen = jnp.asarray(list(individuals))
        members = jax.tree.map(lambda leaf: leaf[chosen], self.mixings)
        arguments = (
            self.variables,
            members,
            self.images[: given.IMAGES],
            self.labels[: given.IMAGES],
        )
        name = f"population {batch_stats} {len(members.primitives['normal'])}"
        score = programs.population(self.net, batch_stats)
        program = self._compiled(name, score, *arguments)
        jax.block_until_ready(program.call(*arguments))
        started = time.perf_counter()
        scores = jax.block_until_ready(program.call(*arguments))
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "loss": scores.loss.tolist(),
            "correct": scores.correct.tolist(),
            "compile_s": program.seconds,
            "bytes": program.bytes,
        }

    def limits(self) -> dict:
        """What these cores do at most: bytes and operations a second."""
        return {
            "bytes_per_s": limits.copy_bandwidth(2**28),
            "operations_per_s": limits.matmul_rate(2048, "float32", None),
        }

    def weight_step(self, *, steps: int):
        """SGD steps on all images, in one call as in a search (`steps_per_call`).

        Weights move on from call to call, by one step before the clock starts.

        Returns:
          The loss of that step, and the mean of those that are timed.
        """
        mixing = jax.tree.map(lambda leaf: leaf[0], self.mixings)
        batch = Batch(self.images, self.labels)
        arguments = mixing, batch, jnp.float32(given.LEARNING_RATE)
        run = programs.weight_steps(self.net)
        program = self._compiled(
            "weight step", run, self.state, jnp.int32(1), *arguments, donate_argnums=0
        )
        losses = []
        for count in (1, steps):
            started = time.perf_counter()
            self.state = program.call(self.state, jnp.int32(count), *arguments)
            losses.append(float(self.state.totals.loss) / given.BATCH / count)
            seconds = (time.perf_counter() - started) / count
        return {
            "seconds": seconds,
            "loss": losses,
            "compile_s": program.seconds,
            "bytes": program.bytes,
        }
