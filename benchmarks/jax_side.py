"""Our side: the functions that a search calls, compiled, in a process of their own.

A call is timed after one like it, as in a search, where call follows call: what another
process did in between to the memory of the machine is not ours.
"""

import time

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import problem as given
from benchmarks.problem import Problem
from egnas_jax import interop
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.search.evaluate import score_population
from egnas_jax.search.relax import unweighted
from egnas_jax.search.strategy import Regime
from egnas_jax.search.weights import (
    SGD,
    SearchState,
    make_optimizer,
    sgd_step,
    zero_totals,
)
from egnas_jax.types import Batch

SETTINGS = SGD(
    given.BATCH, given.LEARNING_RATE, 0.0, given.MOMENTUM, given.WEIGHT_DECAY,
    given.CLIP, 50,
)  # fmt: skip


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
        zero = jnp.zeros((), jnp.int32)
        params = self.variables["params"]
        state = SearchState(
            params,
            self.variables["batch_stats"],
            make_optimizer(SETTINGS, 0.0).init(params),
            {},
            (),
            zero_totals(),
            zero,
            zero,
        )
        self.state = jax.tree.map(jnp.copy, state)  # donated at every step

    def _compiled(self, name, function, *arguments, **options):
        """A program and the seconds it took to trace and compile."""
        if name not in self.programs:
            started = time.perf_counter()
            run = jax.jit(
                function, compiler_options=lowering.compiler_options(), **options
            )
            program = run.lower(*arguments).compile()
            self.programs[name] = program, time.perf_counter() - started
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

        def score(*arguments):
            return score_population(
                self.net, *arguments, population_chunk=None, image_chunk=None,
                batch_stats=batch_stats,
            )  # fmt: skip

        name = f"population {batch_stats} {len(members.primitives['normal'])}"
        program, compile_s = self._compiled(name, score, *arguments)
        jax.block_until_ready(program(*arguments))
        started = time.perf_counter()
        scores = jax.block_until_ready(program(*arguments))
        seconds = time.perf_counter() - started
        memory = program.memory_analysis()
        return {
            "seconds": seconds,
            "loss": scores.loss.tolist(),
            "correct": scores.correct.tolist(),
            "compile_s": compile_s,
            "bytes": memory.temp_size_in_bytes
            + memory.argument_size_in_bytes
            + memory.output_size_in_bytes,
        }

    def weight_step(self, *, steps: int):
        """SGD steps on all images, in one call as in a search (`steps_per_call`).

        Weights move on from call to call, by one step before the clock starts.

        Returns:
          The loss of that step, and the mean of those that are timed.
        """
        mixing = jax.tree.map(lambda leaf: leaf[0], self.mixings)
        batch = Batch(self.images, self.labels)
        rate = jnp.float32(given.LEARNING_RATE)

        def run(state, steps, mixing, batch, rate):
            def step(_, state):
                return sgd_step(
                    self.net, SETTINGS, Regime(), state, mixing, batch, rate
                )

            state = state._replace(totals=zero_totals())
            return lax.fori_loop(0, steps, step, state)

        arguments = mixing, batch, rate
        program, compile_s = self._compiled(
            "weight step", run, self.state, jnp.int32(1), *arguments, donate_argnums=0
        )
        losses = []
        for count in (1, steps):
            started = time.perf_counter()
            self.state = program(self.state, jnp.int32(count), *arguments)
            losses.append(float(self.state.totals.loss) / given.BATCH / count)
            seconds = (time.perf_counter() - started) / count
        return {
            "seconds": seconds,
            "loss": losses,
            "compile_s": compile_s,
            "bytes": program.memory_analysis().temp_size_in_bytes,
        }
