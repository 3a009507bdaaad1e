"""Defines the rows of several searches that one program carries at once.

`jax.vmap` over states and hyperparameters runs searches that differ in seed, learning
rate and the method's scalars; they share images and program.

Dims: K searches, S weight steps of a call.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import epoch, images, rows, traffic
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.search import step
from egnas_jax.search.evaluate import default_chunks
from egnas_jax.search.state import SearchHyperparams, init_state
from egnas_jax.training.out_of_memory import memory_shared_by
from egnas_jax.types import PyTree

STEPS = 8  # weight steps of a call, as in a search


def hyperparams_of(parts: epoch.Parts, count: int) -> SearchHyperparams:
    """Hyperparameters of K searches with the seeds 0 to K - 1, leaves [K, ...]."""
    alike = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (count, *np.shape(leaf))), parts.hyperparams
    )
    return alike.replace(seed=jnp.arange(count, dtype=jnp.uint32))


def first_states(parts: epoch.Parts, hyperparams: SearchHyperparams) -> PyTree:
    """States before the first step, leaves [K, ...]."""
    init = functools.partial(init_state, parts.problem, parts.image_shape)
    return jax.jit(jax.vmap(init))(hyperparams)


def train(plan: epoch.Plan, precision: str, count: int) -> rows.Row:
    """Row of S weight steps of each of K searches."""
    parts = _parts(plan, precision)
    hyperparams = hyperparams_of(parts, count)
    steps = min(STEPS, plan.images // plan.batch_size)

    def run(state, data, hyperparams, span):
        one = functools.partial(step.train_steps, parts.problem, data)
        return jax.vmap(lambda h, state: one(h, state, span)[0])(hyperparams, state)

    span = jnp.int32(0), jnp.int32(steps)
    state = first_states(parts, hyperparams)
    row = _row(plan, precision, run, (state, parts.data, hyperparams, span))
    passes = count * steps * plan.batch_size
    return _of_passes(plan, row, passes, backward=True)._replace(
        name=f"{count} x {steps} weight steps", options={"donate_argnums": 0}
    )


def evolve(plan: epoch.Plan, precision: str, count: int) -> rows.Row:
    """Row of one exploration of each of K searches, which share the memory."""
    shared = sharing_memory(epoch.in_precision(plan, precision), count)
    parts = _parts(shared, precision)
    hyperparams = hyperparams_of(parts, count)

    def run(state, data, hyperparams):
        one = functools.partial(step.evolve, parts.problem, data)
        return jax.vmap(lambda h, state: one(h, state)[0])(hyperparams, state)

    state = first_states(parts, hyperparams)
    row = _row(plan, precision, run, (state, parts.data, hyperparams))
    passes = count * plan.strategy.images_evaluated
    return _of_passes(plan, row, passes, backward=False)._replace(
        name=f"{count} explorations",
        individuals_at_a_time=shared.strategy.population_chunk,
    )


def sharing_memory(plan: epoch.Plan, count: int) -> epoch.Plan:
    """A plan in which each of K searches fills its share of the free memory.

    That is what `egnas search --batched K` does: fewer individuals go through at a time
    only where the memory does not hold all of them K times.
    """
    with memory_shared_by(count):
        chunk, _ = default_chunks(
            plan.supernet,
            plan.side,
            plan.strategy.population + 1,  # alpha's own mixing is one of them
            plan.strategy.fitness_batch_size,
            batch_stats=plan.strategy.batch_stats,
        )
    strategy = dataclasses.replace(plan.strategy, population_chunk=chunk)
    return dataclasses.replace(plan, strategy=strategy)


def _parts(plan: epoch.Plan, precision: str) -> epoch.Parts:
    pixels = images.synthetic(2 * plan.images, plan.side)
    return epoch.make_parts(epoch.in_precision(plan, precision), *pixels)


def _row(plan, precision, function, arguments) -> rows.Row:
    """A row without its name and its work."""
    return rows.Row(
        name="",
        precision=precision,
        function=function,
        arguments=arguments,
        options={},
        run=rows.next_state,
        images=0,
        products=0,
        bytes=0,
    )


def _of_passes(plan, row: rows.Row, passes: int, *, backward: bool) -> rows.Row:
    """The row with the work of forward passes, and of backward passes for each."""
    supernet = epoch.in_precision(plan, row.precision).supernet
    products = rows.STEP_PRODUCTS if backward else 1
    moved = traffic.STEP_PASSES if backward else 1
    return row._replace(
        images=passes,
        products=passes * products * supernet_multiply_adds(supernet, plan.side),
        bytes=passes * moved * traffic.forward_bytes(supernet, plan.side),
    )
