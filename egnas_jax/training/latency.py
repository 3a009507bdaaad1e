"""Measures how long compiled programs take on a device.

A latency is the median of some runs after a few that warm up. The results of a run are
waited for, so that transfers to the device count and nothing is left running.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from egnas_jax.nn.costs import genotype_of
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.network_cost import published_network
from egnas_jax.settings import check_whole
from egnas_jax.space import Genotype, Topology

WARMUP, REPEATS = 3, 20


def latency(
    genotype: Genotype | Topology,
    device: jax.Device | None = None,
    *,
    network: NetworkConfig | None = None,
    image_size: int = 32,
    image_channels: int = 3,
    batch_size: int = 1,
    repeats: int = REPEATS,
) -> float:
    """Measures how long the network of a genotype takes for one batch, in evaluation.

    Args:
      genotype: the cells.
      device: where it runs; None: the default device.
      network: the network around the cells; None: that of the published tables.
      image_size: side of the images, pixels.
      image_channels: channels of the images.
      batch_size: images of the batch.
      repeats: runs of which the median is taken, after three that warm up.

    Returns:
      Seconds for the batch, float32, without compilation.

    Raises:
      ValueError: a number below one, or images that the network cannot read.
    """
    check_whole("batch_size", batch_size, 1)
    check_whole("repeats", repeats, 1)
    network = network or published_network(genotype_of(genotype, None).macro)
    shape = image_size, image_size, image_channels
    with jax.default_device(device or jax.devices()[0]):
        program, arguments = compiled_network(genotype, network, shape, batch_size)
        return median_seconds(program, arguments, repeats)


def compiled_network(
    genotype: Genotype | Topology,
    network: NetworkConfig,
    shape: tuple[int, int, int],
    batch_size: int,
) -> tuple[Callable, tuple]:
    """Compiles a network in evaluation; returns the program and its arguments.

    The weights and images are random ones, on the default device.

    Args:
      genotype: the cells.
      network: the network around the cells.
      shape: of an image, (H, W, C).
      batch_size: images of the batch.
    """
    net, key = make_network(genotype, network), jax.random.key(0)
    variables = net.init(key, shape)
    images = jax.random.normal(key, (batch_size, *shape), jnp.float32)
    program = jax.jit(lambda *arguments: net.apply(*arguments)[0])
    return program.lower(variables, images).compile(), (variables, images)


def median_seconds(
    program: Callable, arguments: tuple, repeats: int = REPEATS
) -> float:
    """Returns the median duration of calls of a compiled program, in seconds.

    Args:
      program: compiled, so that no call compiles it.
      arguments: of a call, on the device.
      repeats: calls that count, after `WARMUP` that do not.
    """
    seconds = []
    for _ in range(WARMUP + repeats):
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARMUP:])
