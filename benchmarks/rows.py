"""The rows of the GPU table: each one compiled program and what a call of it does.

Dims: P individuals, N images, S weight steps of a call.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import problem as given
from benchmarks import programs, traffic
from benchmarks.parity import Case, Drawn
from egnas_jax.data.config import DataConfig
from egnas_jax.nn.cost import multiply_adds
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.step import StepInputs, initial_state, weight_step
from egnas_jax.search.relax import unweighted
from egnas_jax.space import zoo
from egnas_jax.types import Batch

# name -> dtype of activations, and the precision that jax is asked for. A GPU of 2020
# or later computes "default" products of float32 in TF32.
PRECISIONS = {
    "float32": ("float32", "highest"),
    "default": ("float32", None),
    "bfloat16": ("bfloat16", None),
}
# Every multiply-add of the forward pass has two in the backward pass: one for the
# gradient of its input, one for that of its weight.
STEP_PRODUCTS = 3
GENOTYPE = "eg_nas_cifar10"
RETRAIN_STEPS = 4


class Row(NamedTuple):
    """What is timed.

    Attributes:
      name, precision: of the row; precision as in `PRECISIONS`.
      function, arguments, options: for `programs.compile_program`.
      run: (program, arguments) -> results of one call, and the arguments of the next.
      images: that go through a network in one call, once for every individual.
      products: multiply-adds of one call.
      bytes: that one call must move (benchmarks/traffic.py), or None.
    """

    name: str
    precision: str
    function: Callable
    arguments: tuple
    options: dict
    run: Callable[[Callable, tuple], tuple[Any, tuple]]
    images: int
    products: int
    bytes: int | None


def _same(program, arguments):
    return program(*arguments), arguments


def _moving_state(program, arguments):
    """The first argument is donated and comes back."""
    state = program(*arguments)
    return state, (state, *arguments[1:])


def population(
    case: Case, drawn: Drawn, precision: str, batch_stats: str, chunk: int | None = None
) -> Row:
    """P individuals on N images, `chunk` of them at a time; None: as in a search."""
    config = _config(case, precision)
    mixings = unweighted(jax.tree.map(jnp.asarray, drawn.primitives))
    images, labels = drawn.images[: case.images], drawn.labels[: case.images]
    arguments = drawn.variables, mixings, images, labels
    passes = case.individuals * case.images
    return Row(
        f"population, {batch_stats} statistics"
        + ("" if chunk is None else f", {chunk} at a time"),
        precision,
        programs.population(make_supernet(config), batch_stats, chunk),
        jax.tree.map(jnp.asarray, arguments),
        {},
        _same,
        passes,
        passes * supernet_multiply_adds(config, case.side),
        passes * traffic.forward_bytes(config, case.side),
    )


def steps(case: Case, drawn: Drawn, precision: str, count: int) -> Row:
    """SGD steps of one call, as in a search, but on the same images."""
    config = _config(case, precision)
    mixing = unweighted({k: jnp.asarray(r[0]) for k, r in drawn.primitives.items()})
    state = programs.first_state(jax.tree.map(jnp.asarray, drawn.variables))
    batch = Batch(jnp.asarray(drawn.images), jnp.asarray(drawn.labels))
    rate, passes = jnp.float32(given.LEARNING_RATE), count * case.batch
    return Row(
        f"weight step, {case.batch} images",
        precision,
        programs.weight_steps(make_supernet(config)),
        (state, jnp.int32(count), mixing, batch, rate),
        {"donate_argnums": 0},
        _moving_state,
        passes,
        passes * STEP_PRODUCTS * supernet_multiply_adds(config, case.side),
        passes * traffic.STEP_PASSES * traffic.forward_bytes(config, case.side),
    )


def recipe(case: Case, trial: bool) -> RetrainConfig:
    """The retraining whose steps are timed."""
    network = NetworkConfig(4, 3, auxiliary=False) if trial else NetworkConfig()
    return RetrainConfig(
        DataConfig(name="cifar10"),
        network,
        zoo[GENOTYPE].genotype.format(),
        batch_size=case.batch if trial else RetrainConfig.batch_size,
    )


def retrain(case: Case, config: RetrainConfig, precision: str) -> Row:
    """Steps of the recipe on images of the case's size, without augmentation."""
    config = dataclasses.replace(config, precision=PRECISIONS[precision][0])
    network, side = config.network, case.side
    net = make_network(zoo[GENOTYPE].genotype, network)
    state = initial_state(net, config, (side, side, 3))
    rng = np.random.RandomState(0)
    images = jnp.asarray(rng.normal(size=(config.batch_size, side, side, 3)), "float32")
    labels = jnp.asarray(rng.randint(0, 10, config.batch_size), "int32")
    # float32 numbers, so that the drop path's draws are in the program
    rate, drop = jnp.float32(config.learning_rate), jnp.float32(network.drop_path)

    def run(state, images, labels, rate, drop):
        inputs = StepInputs(
            epoch=0, learning_rate=rate, drop_path=drop, seed=config.seed
        )

        def step(_, state):
            return weight_step(net, config, state, Batch(images, labels), inputs)

        return lax.fori_loop(0, RETRAIN_STEPS, step, state)

    passes = RETRAIN_STEPS * config.batch_size
    forward = multiply_adds(zoo[GENOTYPE].genotype, network, side)
    return Row(
        f"retraining step, {config.batch_size} images",
        precision,
        run,
        (state, images, labels, rate, drop),
        {"donate_argnums": 0},
        _moving_state,
        passes,
        passes * STEP_PRODUCTS * forward,
        None,
    )


def _config(case: Case, precision: str):
    return dataclasses.replace(case.config, dtype=PRECISIONS[precision][0])


def compiled(row: Row) -> programs.Compiled:
    """The row's program."""
    _, precision = PRECISIONS[row.precision]
    return programs.compile_program(
        row.function, *row.arguments, precision=precision, **row.options
    )


class Timing(NamedTuple):
    """Of one row.

    Attributes:
      first: what the first call gave, on the host.
      seconds: of the calls after it, in order.
    """

    first: Any
    seconds: list[float]


def timed(row: Row, program: programs.Compiled, repeats: int) -> Timing:
    """Calls a program once for its results and `repeats` times for the clock."""
    # the state is donated; the row's own is kept for another program
    state = jax.tree.map(jnp.copy, row.arguments[0])
    result, arguments = row.run(program.call, (state, *row.arguments[1:]))
    first, seconds = jax.device_get(result), []
    for _ in range(repeats):
        held = [arguments]

        def call(held=held):
            result, held[0] = row.run(program.call, held[0])
            return result

        seconds.append(programs.seconds_of(call))
        arguments = held[0]
    return Timing(first, seconds)
