"""Defines the rows of the GPU table, each a program and the work of one call.

Dims: P individuals, N images, S weight steps of a call.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import problem, programs, traffic
from benchmarks.parity import Case, Drawn
from egnas_jax.data.config import DataConfig
from egnas_jax.nn.cost import multiply_adds
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.step import (
    StepInputs,
    hyperparams_of,
    initial_state,
    weight_step,
)
from egnas_jax.search.relax import unweighted
from egnas_jax.space import zoo
from egnas_jax.types import Batch

# name -> dtype of activations, `jax.default_matmul_precision`. GPUs since 2020 compute
# "default" products of float32 in TF32.
PRECISIONS = {
    "float32": ("float32", "highest"),
    "default": ("float32", None),
    "bfloat16": ("bfloat16", None),
}
# The backward pass has two multiply-adds for each of the forward pass: one for the
# gradient of the input, one for the gradient of the weight.
STEP_PRODUCTS = 3
GENOTYPE = "eg_nas_cifar10"
RETRAIN_STEPS = 4


class Row(NamedTuple):
    """A program that is timed.

    Attributes:
      name: of the row.
      precision: a key of `PRECISIONS`.
      function, arguments, options: for `programs.compile_program`.
      run: (program, arguments) -> results of one call, and the arguments of the next.
      images: forward passes of one image in one call, over all individuals.
      products: multiply-adds of one call, or None.
      bytes: memory traffic of one call (benchmarks/traffic.py), or None.
      individuals_at_a_time: of each population, where the row chooses it, or None.
    """

    name: str
    precision: str
    function: Callable
    arguments: tuple
    options: dict
    run: Callable[[Callable, tuple], tuple[Any, tuple]]
    images: int
    products: int | None
    bytes: int | None
    individuals_at_a_time: int | None = None


def same_arguments(program, arguments):
    return program(*arguments), arguments


def next_state(program, arguments):
    """Calls a program that takes and returns a donated state."""
    state = program(*arguments)
    return state, (state, *arguments[1:])


def population(
    case: Case, drawn: Drawn, precision: str, batch_stats: str, chunk: int | None = None
) -> Row:
    """Row of P individuals on N images, `chunk` individuals at a time.

    None takes the chunk that a search would choose.
    """
    config = in_precision(case, precision).config
    mixings = unweighted(jax.tree.map(jnp.asarray, drawn.primitives))
    images, labels = drawn.images[: case.images], drawn.labels[: case.images]
    arguments = drawn.variables, mixings, images, labels
    passes = case.individuals * case.images
    suffix = "" if chunk is None else f", {chunk} at a time"
    return Row(
        name=f"population, {batch_stats} statistics{suffix}",
        precision=precision,
        function=programs.population(make_supernet(config), batch_stats, chunk),
        arguments=jax.tree.map(jnp.asarray, arguments),
        options={},
        run=same_arguments,
        images=passes,
        products=passes * supernet_multiply_adds(config, case.side),
        bytes=passes * traffic.forward_bytes(config, case.side),
    )


def steps(case: Case, drawn: Drawn, precision: str, count: int) -> Row:
    """Row of SGD steps in one call, as in a search, but on the same images."""
    config = in_precision(case, precision).config
    mixing = unweighted({k: jnp.asarray(r[0]) for k, r in drawn.primitives.items()})
    state = programs.first_state(jax.tree.map(jnp.asarray, drawn.variables))
    batch = Batch(jnp.asarray(drawn.images), jnp.asarray(drawn.labels))
    rate, passes = jnp.float32(problem.LEARNING_RATE), count * case.batch
    traffic_of_step = traffic.STEP_PASSES * traffic.forward_bytes(config, case.side)
    return Row(
        name=f"weight step, {case.batch} images",
        precision=precision,
        function=programs.weight_steps(make_supernet(config)),
        arguments=(state, jnp.int32(count), mixing, batch, rate),
        options={"donate_argnums": 0},
        run=next_state,
        images=passes,
        products=passes * STEP_PRODUCTS * supernet_multiply_adds(config, case.side),
        bytes=passes * traffic_of_step,
    )


def recipe(case: Case, trial: bool) -> RetrainConfig:
    """Configuration of the retraining whose steps are timed."""
    network = NetworkConfig(4, 3, auxiliary=False) if trial else NetworkConfig()
    return RetrainConfig(
        data=DataConfig(name="cifar10"),
        network=network,
        genotype=zoo[GENOTYPE].genotype.format(),
        batch_size=case.batch if trial else RetrainConfig.batch_size,
    )


def retrain(case: Case, config: RetrainConfig, precision: str) -> Row:
    """Row of retraining steps on images of the case's size, without augmentation."""
    config = dataclasses.replace(config, precision=PRECISIONS[precision][0])
    network, side = config.network, case.side
    net = make_network(zoo[GENOTYPE].genotype, network)
    state = initial_state(net, config, (side, side, 3))
    rng = np.random.RandomState(0)
    images = jnp.asarray(rng.normal(size=(config.batch_size, side, side, 3)), "float32")
    labels = jnp.asarray(rng.randint(0, 10, config.batch_size), "int32")
    # An array keeps the draws of the drop path in the program.
    rate, drop = jnp.float32(config.learning_rate), jnp.float32(network.drop_path)

    def run(state, images, labels, rate, drop):
        inputs = StepInputs(
            epoch=0,
            learning_rate=rate,
            drop_path=drop,
            seed=config.seed,
            hyperparams=hyperparams_of(config),
        )

        def step(_, state):
            return weight_step(net, config, state, Batch(images, labels), inputs)

        return lax.fori_loop(0, RETRAIN_STEPS, step, state)

    passes = RETRAIN_STEPS * config.batch_size
    forward = multiply_adds(zoo[GENOTYPE].genotype, network, side)
    return Row(
        name=f"retraining step, {config.batch_size} images",
        precision=precision,
        function=run,
        arguments=(state, images, labels, rate, drop),
        options={"donate_argnums": 0},
        run=next_state,
        images=passes,
        products=passes * STEP_PRODUCTS * forward,
        bytes=None,
    )


def in_precision(case: Case, precision: str) -> Case:
    """The case with activations of a precision, a key of `PRECISIONS`."""
    config = dataclasses.replace(case.config, dtype=PRECISIONS[precision][0])
    return case._replace(config=config)


def compiled(row: Row) -> programs.Compiled:
    """Compiles the program of a row."""
    _, precision = PRECISIONS[row.precision]
    return programs.compile_program(
        row.function, *row.arguments, precision=precision, **row.options
    )


class Timing(NamedTuple):
    """Measurement of one row.

    Attributes:
      first: results of the first call, on the host.
      seconds: of the following calls, in order.
    """

    first: Any
    seconds: list[float]


def timed(row: Row, program: programs.Compiled, repeats: int) -> Timing:
    """Calls a program once for its results, then times `repeats` calls."""
    # The state is donated; the row keeps its own for other programs.
    state = jax.tree.map(jnp.copy, row.arguments[0])
    result, arguments = row.run(program.call, (state, *row.arguments[1:]))
    first, seconds = jax.device_get(result), []
    for _ in range(repeats):
        started = time.perf_counter()
        _, arguments = jax.block_until_ready(row.run(program.call, arguments))
        seconds.append(time.perf_counter() - started)
    return Timing(first, seconds)
